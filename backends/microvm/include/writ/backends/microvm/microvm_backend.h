// The `microvm` tier: a virtual machine per run.
//
// The machine's monitor runs where a job of the sandbox tier would: in namespaces of its own, as
// the job's uid, with an empty network and nothing of the host's but its programs and this
// machine's parts. Inside, the guest's agent runs the job as the sandbox tier does. So a job has to
// leave a sandbox, a machine and another sandbox. There is no network card. The guest's proxy port
// is a stream to the session's proxy.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "writ/backends/backend.h"
#include "writ/backends/job/launched_options.h"
#include "writ/base/result.h"

namespace writ::backends {

// Of the page server, which gives machines that start from a snapshot their memory as they touch
// it. Where it cannot be used a machine gets a copy of all of it first.
struct PageOptions {
  std::string program{};  // absolute path of writ-pages; empty: there is none
  std::string preload{};  // absolute path of libwrit-uffd.so
  std::string device = "/dev/userfaultfd";
};

// Why machines here cannot have their memory served; starts nothing. kUnsupported "pages.off",
// "pages.preload", "pages.userfaultfd" with the mend as its hint.
Status MachinePagesCanBeServed(const PageOptions& options);

// Of a machine beside its job's: kernel and agent.
inline constexpr std::uint64_t kGuestMemoryBytes = 128ull << 20;

// Machines that are restored ahead of their runs and wait, paused. A run whose machine would be
// restored gets one where one waits; each is used once.
struct PoolOptions {
  unsigned count = 0;                       // of each snapshot's; 0: none are kept
  std::uint64_t memory_bytes = 1ull << 30;  // of the guests that wait, all together, at most
  std::chrono::seconds max_age = std::chrono::minutes(10);
  // Absolute, existing, reachable by the identities: their folders. What an earlier process has
  // left is ended and removed.
  std::string dir{};
  // As root: uids that nothing else has, one for each that waits or is in use; and of the page
  // server.
  uid_t first_uid = 0;
  unsigned uids = 0;
  std::optional<uid_t> helper_uid{};
};

struct MicrovmBackendOptions {
  LaunchedOptions launched{};
  std::string machine_program{};  // absolute path of writ-vm
  std::string vmm{};              // "qemu", "firecracker", "cloud-hypervisor"; empty: qemu
  std::string vmm_program{};      // absolute path; empty: /usr/bin/ and the program's own name
  std::string images_dir{};       // of the runner: its guest images are below (GuestStore)
  std::string default_image = "default";  // of a job that names none
  // Of a job without a limit of its own; what the guest keeps for itself comes on top.
  std::uint64_t job_memory_bytes = 768ull << 20;
  enum class Snapshots { kUsed, kIgnored };
  Snapshots snapshots = Snapshots::kUsed;  // of `images_dir`/snapshots
  PageOptions pages{};
  PoolOptions pool{};
  // kSteps: for steps of recipes and nothing else: images whose job is root of its guest, held by
  // the machine alone. Such an image is refused otherwise, and any other is here.
  enum class Jobs { kHeld, kSteps };
  Jobs jobs = Jobs::kHeld;
};

// Name "microvm". Where there is a snapshot of a run's image and size (snapshot_build.h) its
// machine starts from that, and cold where it cannot; StartOfMachine tells.
std::unique_ptr<Backend> MakeMicrovmBackend(MicrovmBackendOptions options);

}  // namespace writ::backends
