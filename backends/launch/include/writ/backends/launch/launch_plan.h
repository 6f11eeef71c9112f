// LaunchPlan: what writ-launch does, one field per step, in the order of the steps. Made by a
// backend from a Plan and its probes; reaches the launcher on a sealed memfd (messages.h, Job)
// before the job's environment is known. The environment follows with the word to start (Go); its
// encoded bytes hold secret values and are wiped by whoever holds them.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/launch/view_step.h"
#include "writ/backends/linux/landlock.h"
#include "writ/base/result.h"
#include "writ/base/terminal_size.h"

namespace writ::backends::launch {

// The one descriptor that writ-launch is started with: SOCK_SEQPACKET to the backend; end-of-file:
// it is gone.
inline constexpr int kControlFd = 3;
// Where it keeps what comes with its job. Status: a locked file; the lock goes when the launcher
// goes, and the status is written there.
inline constexpr int kStatusFd = 4;
inline constexpr int kStdoutFd = 5;  // write ends for the job
inline constexpr int kStderrFd = 6;
inline constexpr int kHighestFd = kStderrFd;

// Descriptors that `writ-launch --inside` finds: the plan, init's socket, the job's output as
// above, and the proxy's listener where there is one. `--inside-own-kernel` finds a socket as its
// standard input, over which the first four of them come. The owner of a machine may find one more:
// a SEQPACKET socket on which its backend has put what of the host's it needs and its jail has no
// path to.
inline constexpr int kInsidePlanFd = 3;
inline constexpr int kInsideSocketFd = 4;
inline constexpr int kInsideListenerFd = 7;
inline constexpr int kInsideSuppliesFd = 8;

// Whom the launcher's probes run as where it is root: nobody.
inline constexpr uid_t kProbeUid = 65534;

struct ResourceLimit {
  int resource = 0;  // RLIMIT_*
  std::uint64_t value = 0;
};

enum class IdentityStep : std::uint8_t {
  kDrop,   // we are root: become uid and gid
  kCheck,  // we are that user already
};

enum class SessionKeyring : std::uint8_t {
  kNew,     // empty, of the job's own
  kAsItIs,  // there are no keyrings here
};

// What the job's clocks of uptime (CLOCK_MONOTONIC, CLOCK_BOOTTIME, /proc/uptime) tell.
enum class Uptime : std::uint8_t {
  kOfTheHost,
  kFromZero,  // a time namespace that begins with the job (5.6)
};

// How a container's first process comes by its descriptors.
enum class ContainerKernel : std::uint8_t {
  kHosts,  // the runtime hands descriptors 3 to 7 through
  // The container has a kernel of its own (gVisor), to which the host's descriptors come through
  // the runtime's standard input and from which none comes back: init says Ready. That kernel has
  // no session keyrings, no time namespaces, no Landlock and no notifications.
  kOwn,
};

// User, mount, pid, ipc, uts, net and cgroup namespaces of the job's own. The job's first process
// has a parent there that is pid 1: it makes the view, gives up every capability, starts the job,
// reaps, and dies with the supervisor.
struct NamespacePlan {
  uid_t inside_uid = 1000;  // the only ids there are inside; LaunchPlan::uid and gid outside
  gid_t inside_gid = 1000;
  std::string host_name = "writ";
  Uptime uptime = Uptime::kOfTheHost;
  std::vector<ViewStep> view;  // applied in this order to an empty root
  std::vector<std::string>
      counted;  // directories of the view handed out with Ready, to be measured
  // The command line of an OCI runtime that makes the job's root from the view (absolute there);
  // empty: the view is the root. The runtime is uid 0 of the user namespace, and starts
  // `writ-launch --inside` as the container's first process with descriptors 3 to 7 (kInside...);
  // that makes a user namespace with the inside ids for the job. `counted` is then of the root
  // where the kernel is the host's, else of the view.
  std::vector<std::string> runtime;
  ContainerKernel container_kernel = ContainerKernel::kHosts;
  // Where what the runtime starts is no container but a machine: how long it may take to get ready,
  // and from the job's end to its own, in which it brings out what the job changed. 0: as for a
  // container.
  std::uint64_t ready_bound_ms = 0;
  std::uint64_t leave_bound_ms = 0;
};

// Whether what the runtime starts owns a machine.
inline bool HasMachine(const NamespacePlan& plan) {
  return plan.leave_bound_ms != 0;
}

enum class Entries : std::uint8_t { kRefused, kAccepted };

struct ProxyTarget {
  std::uint32_t ipv4 = 0;  // network byte order
  std::uint16_t port = 0;  // host byte order
};

struct LaunchPlan {
  // A v2 group that the job is born in (CLONE_INTO_CGROUP): moving a process takes a lock that
  // waits for an RCU grace period, some 10 ms; being born there takes nothing. Empty: none.
  std::string born_in_cgroup;
  std::vector<std::string> cgroup_dirs;  // entered by writing; may be empty
  // One of cgroup_dirs that can be frozen while its members are killed, where there is no
  // cgroup.kill. Empty: none.
  std::string freezer;
  std::vector<ResourceLimit> limits;
  IdentityStep identity = IdentityStep::kCheck;
  uid_t uid = 0;
  gid_t gid = 0;
  SessionKeyring keyring = SessionKeyring::kAsItIs;
  std::optional<NamespacePlan> namespaces;
  std::string cwd;         // absolute, as the job sees it; entered with the job's identity
  LandlockRules landlock;  // abi 0: no Landlock
  std::vector<sock_filter> allow_list;  // installed before `filter`; empty: none
  std::vector<sock_filter> filter;      // empty: no seccomp
  bool supervise_connect = false;       // the filter has user notification rules
  // Where the job finds its proxy. With namespaces the listener is made there by the launcher and
  // handed out with Ready; without, the backend has made it already.
  std::optional<ProxyTarget> proxy;
  std::vector<std::string> argv;
  std::optional<TerminalSize> terminal;  // the job's three streams are a terminal of its own
  // Whether anything may be put beside the running job (EnterMessage). Else the way is not there.
  Entries entries = Entries::kRefused;
  std::uint64_t wall_timeout_ms = 0;
  std::uint64_t term_grace_ms = 0;
};

std::string EncodeLaunchPlan(const LaunchPlan& plan);
// kInvalid for anything that EncodeLaunchPlan would not write.
Result<LaunchPlan> DecodeLaunchPlan(std::string_view bytes);

// NAME=value entries, exactly as the job gets them.
std::string EncodeEnvironment(const std::vector<std::string>& entries);
Result<std::vector<std::string>> DecodeEnvironment(std::string_view bytes);

}  // namespace writ::backends::launch
