// The command line of QEMU for a machine. Pure.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/microvm/vmm.h"
#include "writ/protocol/digest.h"

namespace writ::backends::microvm {

struct QemuRam {
  enum class Kind {
    kAnonymous,
    kShared,  // the file `path` is the RAM, and a snapshot's memory once the machine stands still
    kCopyOnWrite,  // the file `path` is where it comes from
  };
  enum class Start { kBoots, kRestored };
  Kind kind = Kind::kAnonymous;
  std::string path;
  Start start = Start::kBoots;
};

// Descriptors are those below.
std::vector<std::string> QemuCommand(const MachineSpec& spec, const QemuRam& ram);
// What of it a snapshot depends on: the devices and the processor, whatever files are behind them.
protocol::Digest QemuLayout(const MachineSpec& spec);
inline constexpr int kQemuControlFd = 3;  // QMP
inline constexpr int kQemuChannelFd = 4;
inline constexpr int kQemuConsoleFd = 5;
inline constexpr int kQemuStateFd = 6;      // of a machine that is restored
inline constexpr int kQemuPagesFd = 7;      // connected to its page server
inline constexpr int kQemuUserfaultFd = 8;  // of /dev/userfaultfd

}  // namespace writ::backends::microvm
