// Vmm: one virtual machine under one virtual machine monitor, seen from the process that owns it.
//
// A machine has no network card. It has two read-only drives (root, inputs), one byte stream to its
// agent, an entropy device and a console whose last bytes are kept. It is a child of the caller and
// never outlives it.
// One thread, the event loop's. State: made -> booted -> ended; a call that does not fit is
// kConflict.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/microvm/event_loop.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

enum class Acceleration { kTcg, kKvm };
std::string_view AccelerationName(Acceleration acceleration);  // "tcg", "kvm"

struct MachineSpec {
  std::string vmm;  // program
  Acceleration acceleration = Acceleration::kTcg;
  std::uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  std::uint64_t tsc_khz = 0;  // of the host; 0: the guest finds out
  std::string kernel;
  std::string initramfs;
  std::string root;
  std::string inputs;
};

// How a machine ended that nobody killed.
struct MachineEnd {
  enum class Kind {
    kVmmGone,     // the monitor ended by itself: a crash, or what it was told by `text`
    kPanicked,    // the guest's kernel gave up
    kPoweredOff,  // the guest switched itself off or restarted
  };
  Kind kind = Kind::kVmmGone;
  std::string text;  // one sentence, printable, bounded; holds what the guest's console said last
};

class Vmm {
 public:
  virtual ~Vmm() = default;  // kills

  // Starts the monitor and the guest's processors. `on_end` is called once, unless Kill was first.
  virtual Status Boot(const MachineSpec& spec, std::function<void(const MachineEnd&)> on_end) = 0;
  // The agent's byte stream, connected from the first instant on. Given away once.
  virtual UniqueFd TakeChannel() = 0;
  // Stops and resumes the guest's processors; `done` is told when it is so, or why it is not.
  virtual void Pause(std::function<void(Status)> done) = 0;
  virtual void Resume(std::function<void(Status)> done) = 0;
  // Ends the machine at once; waits until its process is gone.
  virtual void Kill() = 0;
};

// QEMU's machine "microvm" (7.2 or newer), told by QMP over a descriptor.
std::unique_ptr<Vmm> MakeQemu(EventLoop& loop);

// The command line of a boot; descriptors are those below. Pure.
std::vector<std::string> QemuCommand(const MachineSpec& spec);
inline constexpr int kQemuControlFd = 3;  // QMP
inline constexpr int kQemuChannelFd = 4;
inline constexpr int kQemuConsoleFd = 5;

// "QEMU emulator version 7.2.22 (Debian ...)" -> "7.2.22"; kUnsupported with the reason for one
// that cannot be used.
Result<std::string> QemuVersion(std::string_view first_line);

}  // namespace writ::backends::microvm
