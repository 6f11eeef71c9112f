// Firecracker: its own seccomp filters are on, PCI is not asked for. Its jailer is not used: it
// wants root, makes device nodes and copies the program for each machine; who starts us has made a
// jail already (machine/src/jail.cc), in which there is no right left to make another.
#include "api_vmm.h"

namespace writ::backends::microvm {
namespace {

class Firecracker final : public ApiVmm {
 public:
  explicit Firecracker(EventLoop& loop) : ApiVmm(loop) {}
  ~Firecracker() override { Kill(); }
  SnapshotParts Parts() const override { return {{firecracker::kState}, firecracker::kMemory}; }

 private:
  Status Start(const MachineSpec& spec) {
    return Launch(spec, {"firecracker", "--api-sock", kApiSocket, "--id", "writ"}, {});
  }

  Status DoBoot(const MachineSpec& spec) override {
    WRIT_TRY(Start(spec));
    Ask(firecracker::Boot(spec));
    return {};
  }

  Status DoRestore(const MachineSpec& spec, const RestoreOrder& order) override {
    WRIT_TRY(Start(spec));
    bare_pause_ = false;
    Ask(firecracker::Restore(spec, order));
    return {};
  }

  Status DoPause() override {
    bare_pause_ = true;
    Ask({firecracker::SetState("Paused")});
    return {};
  }

  Status CanResume() const override {
    if (!bare_pause_ || firecracker::SurvivesBarePause(spec().version)) return {};
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "microvm.bare_pause",
                 .message =
                     "Firecracker 1.16.0 and 1.16.1 cut the channel of a machine that is "
                     "paused and resumed without a snapshot",
                 .hint = "take a snapshot before it is resumed, or another release"};
  }

  Status DoResume() override {
    Ask({firecracker::SetState("Resumed")});
    return {};
  }

  Status DoSnapshot(const SnapshotOrder& order) override {
    WRIT_ASSIGN(std::vector<ApiRequest> requests, firecracker::Snapshot(spec(), order));
    bare_pause_ = false;
    Ask(std::move(requests));
    return {};
  }

  Status DoPutDrive(const std::string& name, const std::string& file) override {
    Ask({firecracker::PutDrive(name, file)});
    return {};
  }

  std::string GuestEnded() const override { return process().exited_well() ? "reset" : ""; }

  bool bare_pause_ = false;
};

}  // namespace

std::unique_ptr<Vmm> MakeFirecracker(EventLoop& loop) {
  return std::make_unique<Firecracker>(loop);
}

}  // namespace writ::backends::microvm
