// MachineOrder: what writ-vm boots and which job it has done there. Made by the tier, found by
// writ-vm as a file in its view; holds no secret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/messages.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/base/result.h"

namespace writ::backends::microvm {

// Places in writ-vm's view.
inline constexpr char kOrderPlace[] = "/machine/order";
inline constexpr char kKernelPlace[] = "/machine/kernel";
inline constexpr char kInitramfsPlace[] = "/machine/initramfs";
inline constexpr char kRootPlace[] = "/machine/root.erofs";
inline constexpr char kPreloadPlace[] = "/machine/libwrit-uffd.so";
inline constexpr char kBasePlace[] = "/machine/base.erofs";  // shared; not for each machine
inline constexpr char kUpperPlace[] = "/machine/upper";  // what of the workspace is above the base
inline constexpr char kInputsPlace[] = "/inputs";        // becomes the inputs drive
inline constexpr char kWorkspacePlace[] = "/inputs/workspace";  // writable: changes come back here
inline constexpr char kMadePlace[] = "/tmp";                    // for what is made for this machine

// In kMadePlace: a copy of a snapshot that the machine starts from (without its memory where a page
// server gives that), or the one that it becomes.
inline constexpr char kSnapshotName[] = "snapshot";
// The message among the supplies (launch::kInsideSuppliesFd): with the control connection of the
// machine's clone at the page server and /dev/userfaultfd. Back comes, once the job has ended, the
// server's word of what it has counted (pages/words.h).
inline constexpr char kSuppliesWord[] = "P";
// Or, of a machine that another writ-vm has restored and holds paused (MachinePurpose::kHeld): this
// and the tokens of its source, one a line; with the control of its monitor, the channel to its
// agent and, where a page server gives its memory, the control connection of its clone.
inline constexpr char kHeldWord = 'M';
// In kMadePlace: what is being done to make a snapshot, one line after the other.
inline constexpr char kProgressName[] = "progress";

enum class MachineFrom {
  kKernel,
  kCopy,    // of a snapshot; where that fails, the kernel
  kServed,  // the same, with the memory from a page server
  kHeld,    // restored ahead, and comes with the supplies; where it cannot be used, the kernel
};

enum class MachinePurpose {
  kJob,
  kSnapshot,  // it becomes a snapshot, and is ready when it has; there is no job
  kHeld,      // it is restored and stays paused for another's job: handed out with Ready
};

struct MachineOrder {
  VmmKind kind = VmmKind::kQemu;
  VmmVersion version;
  std::string vmm;
  Acceleration acceleration = Acceleration::kTcg;
  std::uint64_t memory_bytes = 0;
  std::uint64_t cpus = 1;
  std::uint64_t tsc_khz = 0;
  std::uint64_t boot_ms = 0;  // until the agent is ready for its job
  MachinePurpose purpose = MachinePurpose::kJob;
  std::vector<std::string> warm_up;          // kSnapshot: commands
  MachineFrom start = MachineFrom::kKernel;  // kJob
  std::string not_restored;        // kJob: why there is no copy of a snapshot that there is
  std::uint64_t change_bytes = 0;  // TreeLimits of what comes back
  std::uint64_t change_entries = 0;
  JobOrder job;
};

std::string Encode(const MachineOrder& order);
Result<MachineOrder> DecodeMachineOrder(std::string_view bytes);

}  // namespace writ::backends::microvm
