// writ-vm: owns one machine and speaks for the job in it.
//
// Started by writ-launch where a container's runtime would be (inside.h, oci_runtime.h): in
// namespaces of the job's own, as the job's uid, seeing nothing but the programs of the host and
// the parts of this machine.
//   in   1 told, 2 what went wrong, 3 the launch plan, 4 the supervisor's socket, 5 and 6 the job's
//        output, 7 the proxy's listener where there is one, 8 supplies where there are any
//        (kSuppliesWord); /machine/order
// `--probe-kvm` says whether this host runs guest code at the speed of its processor.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <string_view>
#include <utility>

#include "jail.h"
#include "kvm_probe.h"
#include "machine_run.h"
#include "writ/base/close_descriptors.h"
#include "writ/base/file.h"

namespace {

namespace microvm = writ::backends::microvm;
namespace launch = writ::backends::launch;

constexpr std::uint64_t kMaxPlanBytes = 128u << 20;
constexpr int kFree = 32;

int Fail(const std::string& why) {
  (void)writ::WriteAll(2, why + "\n").has_value();
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--probe-kvm") return microvm::RunKvmProbe();
  struct stat st {};
  for (int fd :
       {launch::kInsidePlanFd, launch::kInsideSocketFd, launch::kStdoutFd, launch::kStderrFd}) {
    if (argc == 1 && ::fstat(fd, &st) == 0) continue;
    Fail("writ-vm is started by writ-launch. By hand: writ-vm --probe-kvm");
    return 2;
  }
  const bool listens = ::fstat(launch::kInsideListenerFd, &st) == 0 && S_ISSOCK(st.st_mode);
  const bool supplied = ::fstat(launch::kInsideSuppliesFd, &st) == 0 && S_ISSOCK(st.st_mode);
  if (!listens) ::close(launch::kInsideListenerFd);
  if (!writ::CloseDescriptors(launch::kInsideSuppliesFd + (supplied ? 1 : 0)) ||
      !writ::CloseDescriptorsOnExec(launch::kInsidePlanFd, launch::kInsideSuppliesFd))
    return Fail("descriptors cannot be closed");
  ::signal(SIGPIPE, SIG_IGN);
  microvm::MachineFds fds;
  fds.told.reset(::fcntl(1, F_DUPFD_CLOEXEC, kFree));
  fds.socket.reset(launch::kInsideSocketFd);
  fds.out.reset(launch::kStdoutFd);
  fds.err.reset(launch::kStderrFd);
  if (listens) fds.listener.reset(launch::kInsideListenerFd);
  if (supplied) fds.supplies.reset(launch::kInsideSuppliesFd);
  writ::UniqueFd plan_fd(launch::kInsidePlanFd);
  writ::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null || ::dup2(null.get(), 1) < 0) return Fail("there is no /dev/null");

  auto plan_bytes = writ::ReadAll(plan_fd.get(), kMaxPlanBytes);
  auto order_bytes = writ::ReadFile(microvm::kOrderPlace, kMaxPlanBytes);
  if (!plan_bytes || !order_bytes) return Fail("the machine's plan cannot be read");
  auto plan = launch::DecodeLaunchPlan(*plan_bytes);
  auto order = microvm::DecodeMachineOrder(*order_bytes);
  if (!plan || !plan->namespaces || !order) return Fail("the machine's plan is not one");
  writ::Status jailed = microvm::EnterJail(plan->namespaces->inside_uid,
                                           plan->namespaces->inside_gid, plan->allow_list);
  if (!jailed) return Fail(jailed.error().ToString());
  const std::string why = microvm::RunMachine(*order, *plan, std::move(fds));
  return why.empty() ? 0 : Fail(why);
}
