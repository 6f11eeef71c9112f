#include "policy_keeper.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "policy_engine.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::plane {
namespace {

constexpr std::uint64_t kPolicyLimit = 4u << 20;

Result<std::shared_ptr<const LoadedPolicy>> Load(std::string text) {
  auto refuse = [](std::string message) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "policy.refused",
                 .message = std::move(message),
                 .hint = "writ policy check FILE shows every place"};
  };
  auto value = json::Parse(text, {.max_depth = 16, .max_bytes = kPolicyLimit});
  if (!value) return refuse("the policy is not valid JSON: " + value.error().message);
  json::Issues issues;
  auto policy = ReadPolicy(issues, *value);
  if (Status good = issues.ToStatus("the policy"); !good) return refuse(good.error().message);
  auto loaded = std::make_shared<LoadedPolicy>();
  loaded->hash = policy.Hash().ToHex();
  loaded->policy = std::move(policy);
  loaded->text = std::move(text);
  return std::shared_ptr<const LoadedPolicy>(std::move(loaded));
}

}  // namespace

Result<std::shared_ptr<const LoadedPolicy>> PolicyKeeper::Current() const {
  auto unreadable = [](Error error) {
    error.kind = ErrorKind::kUnavailable;
    return std::move(error).With("reading policy.json");
  };
  std::lock_guard lock(mutex_);
  auto fd = OpenBeneath(dir_.get(), "policy.json", O_RDONLY);
  if (!fd) return unreadable(std::move(fd).error());
  struct stat st {};
  if (::fstat(fd->get(), &st) != 0) {
    return unreadable(SysError(errno, "policy.unreadable", "cannot stat the policy"));
  }
  Stamp stamp{st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_size, st.st_ino};
  if (current_ != nullptr && stamp == stamp_) return current_;
  auto text = ReadAll(fd->get(), kPolicyLimit);
  if (!text) return unreadable(std::move(text).error());
  auto loaded = Load(std::move(*text));
  if (!loaded) return unreadable(std::move(loaded).error());
  stamp_ = stamp;
  current_ = *loaded;
  return current_;
}

Result<std::shared_ptr<const LoadedPolicy>> PolicyKeeper::Replace(std::string_view bytes) {
  WRIT_ASSIGN(auto loaded, Load(std::string(bytes)));
  WRIT_TRY(WriteFileAtomic(dir_.get(), "policy.json", bytes, 0600));
  return loaded;
}

}  // namespace writ::plane
