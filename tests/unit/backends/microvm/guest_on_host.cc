#include "unit/backends/microvm/guest_on_host.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/places.h"
#include "writ/backends/microvm/event_loop.h"
#include "writ/base/encoding.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace fs = std::filesystem;
namespace microvm = backends::microvm;
namespace {

constexpr uid_t kJobUid = 1000;
constexpr std::chrono::seconds kBound{100};

void Give(const fs::path& path) {
  if (::lchown(path.c_str(), kJobUid, kJobUid) != 0) std::abort();
}

void Collect(microvm::EventLoop& loop, const UniqueFd& fd, std::string& into,
             std::function<void()> more) {
  auto id = std::make_shared<microvm::EventLoop::WatchId>(0);
  *id = loop.Add(fd.get(), POLLIN, [&loop, &fd, &into, id, more = std::move(more)](short) {
    std::array<char, 65536> buffer{};
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count <= 0) return loop.SetEvents(*id, 0);
    into.append(buffer.data(), static_cast<std::size_t>(count));
    if (more) more();
  });
}

}  // namespace

std::string WhyNoAgent() {
  if (::geteuid() != 0) return "an overlay with trusted attributes needs root";
  if (::access("/usr/bin/unshare", X_OK) != 0) return "there is no unshare(1)";
  return {};
}

GuestOnHost::GuestOnHost() {
  std::string pattern = "/var/tmp/writ-guest-test-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  base_ = pattern;
  ::chmod(base_.c_str(), 0711);
  workspace_ = base_ + "/workspace";
  for (const char* dir : {"/inputs", "/inputs/workspace", "/base", "/base/workspace", "/scratch"})
    fs::create_directory(base_ + dir);
  for (const char* tree : {"/inputs/workspace", "/base/workspace"}) Give(base_ + tree);
}

GuestOnHost::~GuestOnHost() {
  if (auto parent = OpenDirectory("/var/tmp"))
    (void)RemoveTreeBeneath(parent->get(), base_.substr(base_.rfind('/') + 1)).has_value();
}

microvm::JobOrder GuestOnHost::Shell(const std::string& script) const {
  microvm::JobOrder order;
  order.run_id = "guest_" + base_.substr(base_.rfind('-') + 1);
  order.argv = {"/bin/sh", "-c", script};
  order.user_name = "job";
  order.limits.term_grace = std::chrono::seconds(10);
  return order;
}

void GuestOnHost::WriteBase(const std::string& path, const std::string& bytes) {
  Write("/inputs/workspace", path, bytes);
}

void GuestOnHost::WriteBeneath(const std::string& path, const std::string& bytes) {
  Write("/base/workspace", path, bytes);
}

void GuestOnHost::HideBeneath(const std::string& path) {
  const fs::path mark = base_ + "/inputs/workspace/" + path;
  fs::create_directories(mark.parent_path());
  if (::mknod(mark.c_str(), S_IFCHR, 0) != 0) std::abort();
  for (const auto& entry : fs::recursive_directory_iterator(base_ + "/inputs/workspace"))
    Give(entry.path());
}

void GuestOnHost::Write(const std::string& tree, const std::string& path,
                        const std::string& bytes) {
  const fs::path root = base_ + tree;
  fs::create_directories((root / path).parent_path());
  std::ofstream(root / path, std::ios::binary) << bytes;
  for (const auto& entry : fs::recursive_directory_iterator(root)) Give(entry.path());
}

// As a host has it for the changes: with both layers in one.
void GuestOnHost::CopyInput(bool on_base) {
  constexpr auto kAll = fs::copy_options::recursive | fs::copy_options::copy_symlinks;
  const fs::path upper = base_ + "/inputs/workspace";
  if (!on_base) return fs::copy(upper, workspace_, kAll);
  fs::copy(base_ + "/base/workspace", workspace_, kAll);
  for (const auto& entry : fs::recursive_directory_iterator(upper)) {
    const fs::path place = fs::path(workspace_) / fs::relative(entry.path(), upper);
    if (entry.is_directory() && fs::is_directory(place)) continue;
    fs::remove_all(place);
    if (!entry.is_character_file()) fs::copy(entry.path(), place);
  }
}

GuestOnHost::Ran GuestOnHost::Run(microvm::JobOrder order, const Options& options) {
  Ran ran;
  CopyInput(order.on_base);
  const auto tokens = microvm::GuestTokens::Make();
  int fds[2];
  auto out = MakePipe();
  auto err = MakePipe();
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0 || !out || !err) std::abort();
  UniqueFd host(fds[0]);
  UniqueFd guest(fds[1]);
  const std::string bin = BinDir();
  SpawnOptions spawn;
  spawn.path = "/usr/bin/unshare";
  spawn.argv = {"unshare",
                "--mount",
                "--propagation",
                "private",
                bin + "/writ-guest-agent",
                "--serve",
                "3",
                options.agent_token.empty() ? tokens.host : options.agent_token,
                tokens.guest,
                bin + "/writ-launch",
                base_ + "/inputs",
                base_ + "/base",
                base_ + "/scratch"};
  spawn.env = {"PATH=/usr/bin:/bin"};
  spawn.fds = {{guest.get(), 3}, {2, 2}};
  auto agent = Child::Spawn(spawn);
  if (!agent) std::abort();
  guest.reset();

  microvm::EventLoop loop;
  std::unique_ptr<microvm::GuestClient> client;
  std::vector<UniqueFd> peers;
  microvm::GuestClient::Events events;
  order.proxied = options.proxied;
  events.on_prepared = [&] {
    client->Start({{"PATH=/usr/local/bin:/usr/bin:/bin", "SECRET=s3cret"}});
  };
  events.on_started = [&] {
    if (options.on_started) options.on_started(*client, loop);
  };
  events.on_refused = [&](const microvm::Refused& refused) { ran.refused.push_back(refused); };
  events.on_ended = [&](const microvm::Ended& ended) {
    ran.ended = ended;
    auto dir = OpenDirectory(workspace_);
    if (!dir) std::abort();
    client->FetchChanges(std::move(dir).value(), options.limits);
  };
  events.on_changes = [&](Status taken) {
    if (!taken) ran.changes_error = taken.error().ToString();
    loop.Stop();
  };
  events.on_lost = [&](const std::string& why) {
    ran.lost = why;
    loop.Stop();
  };
  if (options.proxied)
    events.connect = [&] {
      int pair[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
      (void)!::write(pair[1], options.echo.data(), options.echo.size());
      ::shutdown(pair[1], SHUT_WR);
      peers.emplace_back(pair[1]);
      return UniqueFd(pair[0]);
    };
  client = std::make_unique<microvm::GuestClient>(loop, tokens, std::move(events));
  Collect(loop, out->read_end, ran.out, [&] {
    if (options.cancel_at_output) client->Cancel();
  });
  Collect(loop, err->read_end, ran.err, {});
  loop.At(microvm::EventLoop::Clock::now() + kBound, [&] {
    ran.lost = "the test's bound has passed";
    loop.Stop();
  });
  if (!client->Begin(std::move(host), std::move(order),
                     {std::move(out->write_end), std::move(err->write_end)}))
    std::abort();
  loop.Run();
  client.reset();  // its end is the agent's
  if (auto status = agent->Wait(std::chrono::seconds(30)); !status || !*status)
    ran.lost += " the agent did not leave";
  return ran;
}

}  // namespace writ::test
