// Users of an image, as its /etc/passwd has them: anybody's text.
#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "writ/backends/microvm/recipe_build.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kMaxPasswd = 1u << 20;
constexpr std::uint64_t kMaxId = 65'533;

}  // namespace

Result<GuestUser> FindGuestUser(int root, const std::string& user) {
  GuestUser out;
  const bool number = !user.empty() && user.front() >= '0' && user.front() <= '9';
  if (number) {
    (void)std::from_chars(user.data(), user.data() + user.size(), out.uid);
    out.gid = out.uid;
  }
  auto file = OpenBeneath(root, "etc/passwd", O_RDONLY | O_NONBLOCK);
  auto text = file ? ReadAll(file->get(), kMaxPasswd) : Result<std::string>(std::string());
  std::string_view left = text ? std::string_view(*text) : std::string_view();
  while (!left.empty()) {
    const auto end = std::min(left.find('\n'), left.size());
    std::string_view line = left.substr(0, end);
    left.remove_prefix(std::min(end + 1, left.size()));
    std::string_view fields[4];
    for (std::string_view& field : fields) {
      const auto colon = std::min(line.find(':'), line.size());
      field = line.substr(0, colon);
      line.remove_prefix(std::min(colon + 1, line.size()));
    }
    GuestUser found;
    auto parse = [](std::string_view digits, std::uint64_t& to) {
      const auto [last, err] = std::from_chars(digits.data(), digits.data() + digits.size(), to);
      return err == std::errc() && last == digits.data() + digits.size() && to <= kMaxId;
    };
    if (!parse(fields[2], found.uid) || !parse(fields[3], found.gid)) continue;
    if (number ? found.uid == out.uid : fields[0] == user) return found;
  }
  if (number) return out;
  return Error{ErrorKind::kInvalid, "recipe.no_user",
               "the image has no user " + user + " in its /etc/passwd",
               "make it in a RUN before, or name a number"};
}

}  // namespace writ::backends::microvm
