// Vmm: one virtual machine under one virtual machine monitor, seen from the process that owns it.
//
// A machine has no network card. It has read-only drives (root, inputs, base), one byte stream to
// its agent, an entropy device and a console whose last bytes are kept. It is a child of the caller
// and never outlives it.
//
// States: made -> running <-> paused -> ended. A call that does not fit, or comes while another is
// being done, is kConflict and changes nothing. Each call is answered once by its `done`, from the
// loop, within a bound; after Kill nothing is told any more. A machine that could not be booted,
// restored, paused or resumed, or did not answer within the bound, is in no known state: it is
// destroyed, `done` says why, and `on_end` follows (kBroken). Nothing stays frozen and called
// running (L36). A snapshot or a drive that a monitor refused leaves the machine paused.
//
// What a machine takes beside its RAM, for whoever counts: QEMU emulating, up to 1 GiB of
// translated code plus some 60 MiB; with KVM some 40 MiB; Firecracker says 5 MiB of its own; Cloud
// Hypervisor is of that kind. A clone's RAM costs what it has written; the rest is the page cache
// of the snapshot, shared by all clones. Bound it by a cgroup: a guest can make its monitor's
// memory grow.
//
// One thread, the event loop's.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "writ/backends/microvm/event_loop.h"
#include "writ/backends/microvm/vmm_version.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

enum class Acceleration { kTcg, kKvm };
std::string_view AccelerationName(Acceleration acceleration);  // "tcg", "kvm"

// Paths are the monitor's, which sees what the caller sees.
struct MachineSpec {
  std::string vmm;  // program
  VmmVersion version;
  Acceleration acceleration = Acceleration::kTcg;
  std::uint64_t memory_bytes = 0;  // whole MiB
  unsigned cpus = 1;
  std::uint64_t tsc_khz = 0;  // of the host; 0: the guest finds out
  std::string kernel;
  std::string initramfs;
  std::string root;
  std::string inputs;  // Cloud Hypervisor: empty where PutInputs comes later
  std::string base;    // the same with PutBase; may be empty: there is no such drive
  // An empty directory of this machine's own: sockets, and QEMU's RAM where it is to be
  // snapshotted. Its path is short (90 bytes). May be empty for a QEMU that is never snapshotted.
  std::string place;
  bool track_dirty = false;  // for differential snapshots
};

// How a machine ended that nobody killed.
struct MachineEnd {
  enum class Kind {
    kVmmGone,     // the monitor ended by itself: a crash, or what it was told by `text`
    kPanicked,    // the guest's kernel gave up
    kPoweredOff,  // the guest switched itself off or restarted
    kBroken,      // destroyed by us: it could not be brought into a known state
  };
  Kind kind = Kind::kVmmGone;
  std::string text;  // one sentence, printable, bounded; holds what the guest's console said last
};

enum class SnapshotKind {
  kFull,
  kDifferential,  // what was written since the last one, or since the restore: a sparse memory file
};
enum class AfterSnapshot {
  kPaused,  // the machine may be resumed, or snapshotted again
  kSpent,   // it can only be killed; cheaper, as its memory need not be copied
};
struct SnapshotOrder {
  std::string directory;  // empty; filled with Vmm::Parts. Not synced to disk
  SnapshotKind kind = SnapshotKind::kFull;
  AfterSnapshot after = AfterSnapshot::kSpent;
};
// Names within a snapshot's directory. The state is the monitor's own format; the memory file is
// the guest's RAM from its first byte on, with holes.
struct SnapshotParts {
  std::vector<std::string> state;
  std::string memory;
};

// Where a restored machine's pages come from.
struct MemoryFile {
  // kCopyOnWrite: the snapshot's file is read when a page is first touched and never written to;
  // it must stay as it is while the machine lives. QEMU before 8.2 opens it for writing all the
  // same, so there it is no way to share a snapshot with a monitor that is not trusted.
  // kOwn: the file is this machine's alone and changes with it; QEMU can be snapshotted again then.
  enum class Use { kCopyOnWrite, kOwn };
  Use use = Use::kCopyOnWrite;
};
struct PageServer {
  std::string socket;   // where it listens; gets the userfaultfd and the regions
  std::string preload;  // QEMU: libwrit-uffd.so
  // QEMU, in place of `socket`: an end of a pair whose other end it serves, and a descriptor of
  // /dev/userfaultfd, or -1. Borrowed for the call.
  int stream = -1;
  int device = -1;
};
using MemorySource = std::variant<MemoryFile, PageServer>;

// A machine that one process has made and another one owns: its monitor's control and the channel
// to its agent. The monitor stays the maker's child and ends with it.
struct HandedMachine {
  UniqueFd control;
  UniqueFd channel;
};

enum class AfterRestore { kPaused, kRunning };
struct RestoreOrder {
  std::string directory;
  MemorySource memory;
  AfterRestore after = AfterRestore::kPaused;
};

class Vmm {
 public:
  using Done = std::function<void(Status)>;
  using OnEnd = std::function<void(const MachineEnd&)>;
  virtual ~Vmm();  // kills
  Vmm(const Vmm&) = delete;
  Vmm& operator=(const Vmm&) = delete;

  // Starts the monitor and the guest's processors. `on_end` is called once, unless Kill was first.
  void Boot(const MachineSpec& spec, OnEnd on_end, Done done);
  // `spec` is the source's but for `place`, `inputs`, `base` and what a snapshot holds itself
  // (kernel, initramfs). Drives must lie where the source had them; Firecracker and Cloud
  // Hypervisor have recorded their paths.
  void Restore(const MachineSpec& spec, const RestoreOrder& order, OnEnd on_end, Done done);
  // In the place of both: a machine that another process has handed over, which is paused. Kill
  // lets go of it; who made it ends it.
  void Adopt(HandedMachine machine, OnEnd on_end, Done done);
  // Paused, and nothing of it has been asked for: from now on it is told by who adopts it, and
  // `on_end` alone is still told here. kUnsupported: it cannot be handed over.
  Result<HandedMachine> HandOver();
  // A connection to the agent, once it listens, however long that takes: a machine that is paused
  // must be resumed for it. One at a time.
  using Connected = std::function<void(Result<UniqueFd>)>;
  void Connect(Connected connected);
  void Pause(Done done);
  void Resume(Done done);
  void Snapshot(const SnapshotOrder& order, Done done);  // paused
  // Paused: the inputs drive has `file` from now on.
  void PutInputs(const std::string& file, Done done);
  void PutBase(const std::string& file, Done done);  // the same with the base drive
  // Ends the machine at once; waits until its process is gone.
  void Kill();

  virtual SnapshotParts Parts() const = 0;

 protected:
  explicit Vmm(EventLoop& loop) : loop_(loop) {}
  // By a driver: the call is done; nothing else is told of a driver's failures.
  void Settle(Status status);
  // By a driver: the machine has ended by itself.
  void Ended(const MachineEnd& end);
  EventLoop& loop() { return loop_; }

 private:
  enum class State { kMade, kBusy, kRunning, kPaused, kSpent, kEnded };
  enum class OnFailure { kDestroy, kStayPaused };
  virtual Status DoBoot(const MachineSpec& spec) = 0;
  virtual Status DoRestore(const MachineSpec& spec, const RestoreOrder& order) = 0;
  virtual void DoConnect(Connected connected) = 0;
  virtual Status DoPause() = 0;
  virtual Status DoResume() = 0;
  virtual Status DoSnapshot(const SnapshotOrder& order) = 0;
  virtual Status DoPutDrive(const std::string& name, const std::string& file) = 0;
  virtual void DoKill() = 0;
  virtual Status DoAdopt(HandedMachine machine);
  virtual Result<HandedMachine> DoHandOver();
  // kUnsupported for what this monitor cannot do; asked before a call begins.
  virtual Status CanResume() const { return {}; }

  struct Call {
    const char* name;
    State from;
    State to;
    OnFailure on_failure;
    std::chrono::milliseconds bound;
  };
  void PutDrive(const char* name, const std::string& file, Done done);
  void Begin(const Call& call, Done done, const std::function<Status()>& start);
  void Forget();

  EventLoop& loop_;
  State state_ = State::kMade;
  Call call_{};
  Done done_;
  OnEnd on_end_;
  EventLoop::WatchId bound_ = 0;
};

// QEMU's machine "microvm" (7.2 or newer), told by QMP over a descriptor.
std::unique_ptr<Vmm> MakeQemu(EventLoop& loop);
// Firecracker (1.8 or newer) and Cloud Hypervisor, told by their API sockets.
std::unique_ptr<Vmm> MakeFirecracker(EventLoop& loop);
std::unique_ptr<Vmm> MakeCloudHypervisor(EventLoop& loop);
std::unique_ptr<Vmm> MakeVmm(EventLoop& loop, VmmKind kind);

}  // namespace writ::backends::microvm
