// writ-guest-agent: pid 1 of a guest.
//
// As pid 1 it boots the machine (boot.h), serves its host (agent.h), and when the channel is at its
// end takes the machine down: a guest without a host has nothing to do. Started by hand it serves a
// descriptor, for tests on a host:
//   writ-guest-agent --serve FD HOST-TOKEN GUEST-TOKEN LAUNCHER INPUTS BASE SCRATCH
// A step of a recipe is started through it (root_job.h): --in-root.
#include <linux/reboot.h>
#include <sys/reboot.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <utility>

#include "boot.h"
#include "root_job.h"
#include "writ/backends/microvm/agent.h"

namespace {

namespace microvm = writ::backends::microvm;

int Serve(char** argv) {
  int fd = -1;
  const std::string_view word = argv[0];
  if (std::from_chars(word.data(), word.data() + word.size(), fd).ec != std::errc()) return 2;
  microvm::AgentOptions options;
  options.transport = writ::UniqueFd(fd);
  options.host_token = argv[1];
  options.guest_token = argv[2];
  options.launcher = argv[3];
  options.inputs = argv[4];
  options.base = argv[5];
  options.scratch = argv[6];
  // Not this machine's clock and name: whoever serves by hand has borrowed it.
  options.take_identity = [](const microvm::Identity& identity) {
    return writ::Result<microvm::IdentityTaken>(microvm::IdentityTaken{
        identity.realtime_ns, false, identity.host_name, identity.machine_id});
  };
  auto ended = microvm::RunAgent(std::move(options));
  std::fprintf(stderr, "writ-guest-agent: %s\n",
               ended ? ended->c_str() : ended.error().ToString().c_str());
  return ended ? 0 : 1;
}

// Told on the console, which the host keeps the end of.
[[noreturn]] void TakeDown(const std::string& why) {
  std::fprintf(stderr, "writ-guest-agent: %s\n", why.c_str());
  std::fflush(stderr);
  ::reboot(LINUX_REBOOT_CMD_RESTART);
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  if (argc == 9 && std::string_view(argv[1]) == "--serve") return Serve(argv + 2);
  if (argc > 1 && std::string_view(argv[1]) == "--in-root")
    return microvm::EnterRootJob(argc, argv);
  if (::getpid() != 1) {
    std::fputs("writ-guest-agent is pid 1 of a guest; it is started by its kernel\n", stderr);
    return 2;
  }
  auto options = microvm::BootGuest();
  if (!options) TakeDown(options.error().ToString());
  auto ended = microvm::RunAgent(std::move(options).value());
  TakeDown(ended ? *ended : ended.error().ToString());
}
