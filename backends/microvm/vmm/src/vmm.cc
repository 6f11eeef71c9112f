#include "writ/backends/microvm/vmm.h"

#include <utility>

#include "writ/backends/microvm/guest_layout.h"

namespace writ::backends::microvm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Of an emulated machine on a busy host; nothing here waits for a guest.
constexpr seconds kStart{60};
constexpr seconds kTurn{30};
constexpr seconds kWrite{300};  // of all memory, to a slow disk

Error NotNow(const char* name) {
  return {ErrorKind::kConflict, "microvm.state",
          std::string("the machine is in no state to ") + name};
}

}  // namespace

std::string_view AccelerationName(Acceleration acceleration) {
  return acceleration == Acceleration::kKvm ? "kvm" : "tcg";
}

std::unique_ptr<Vmm> MakeVmm(EventLoop& loop, VmmKind kind) {
  switch (kind) {
    case VmmKind::kQemu:
      break;
    case VmmKind::kFirecracker:
      return MakeFirecracker(loop);
    case VmmKind::kCloudHypervisor:
      return MakeCloudHypervisor(loop);
  }
  return MakeQemu(loop);
}

// Every driver kills in its own destructor: here its part is gone.
Vmm::~Vmm() {
  Forget();
}

void Vmm::Boot(const MachineSpec& spec, OnEnd on_end, Done done) {
  if (state_ == State::kMade) on_end_ = std::move(on_end);
  Begin({"boot", State::kMade, State::kRunning, OnFailure::kDestroy, kStart}, std::move(done),
        [&] { return DoBoot(spec); });
}

void Vmm::Restore(const MachineSpec& spec, const RestoreOrder& order, OnEnd on_end, Done done) {
  if (state_ == State::kMade) on_end_ = std::move(on_end);
  const State to = order.after == AfterRestore::kRunning ? State::kRunning : State::kPaused;
  Begin({"restore", State::kMade, to, OnFailure::kDestroy, kStart}, std::move(done),
        [&] { return DoRestore(spec, order); });
}

void Vmm::Adopt(HandedMachine machine, OnEnd on_end, Done done) {
  if (state_ == State::kMade) on_end_ = std::move(on_end);
  Begin({"be adopted", State::kMade, State::kPaused, OnFailure::kDestroy, kTurn}, std::move(done),
        [&] { return DoAdopt(std::move(machine)); });
}

Result<HandedMachine> Vmm::HandOver() {
  if (state_ != State::kPaused) return NotNow("be handed over");
  auto out = DoHandOver();
  if (out) state_ = State::kSpent;
  return out;
}

namespace {
Error CannotBeHandedOver() {
  return {ErrorKind::kUnsupported, "microvm.hand_over",
          "a machine of this monitor cannot be handed to another process"};
}
}  // namespace

Status Vmm::DoAdopt(HandedMachine) {
  return CannotBeHandedOver();
}

Result<HandedMachine> Vmm::DoHandOver() {
  return CannotBeHandedOver();
}

void Vmm::Pause(Done done) {
  Begin({"pause", State::kRunning, State::kPaused, OnFailure::kDestroy, kTurn}, std::move(done),
        [this] { return DoPause(); });
}

void Vmm::Resume(Done done) {
  if (Status can = CanResume(); state_ == State::kPaused && !can) return done(std::move(can));
  Begin({"resume", State::kPaused, State::kRunning, OnFailure::kDestroy, kTurn}, std::move(done),
        [this] { return DoResume(); });
}

void Vmm::Snapshot(const SnapshotOrder& order, Done done) {
  const State to = order.after == AfterSnapshot::kSpent ? State::kSpent : State::kPaused;
  Begin({"snapshot", State::kPaused, to, OnFailure::kStayPaused, kWrite}, std::move(done),
        [&] { return DoSnapshot(order); });
}

void Vmm::PutInputs(const std::string& file, Done done) {
  PutDrive(kInputsDrive, file, std::move(done));
}

void Vmm::PutBase(const std::string& file, Done done) {
  PutDrive(kBaseDrive, file, std::move(done));
}

void Vmm::PutDrive(const char* name, const std::string& file, Done done) {
  Begin({"put a drive", State::kPaused, State::kPaused, OnFailure::kStayPaused, kTurn},
        std::move(done), [&] { return DoPutDrive(name, file); });
}

void Vmm::Connect(Connected connected) {
  if (state_ == State::kMade || state_ == State::kSpent || state_ == State::kEnded)
    return connected(NotNow("connect"));
  DoConnect(std::move(connected));
}

void Vmm::Kill() {
  Forget();
  state_ = State::kEnded;
  DoKill();
}

void Vmm::Begin(const Call& call, Done done, const std::function<Status()>& start) {
  if (state_ != call.from) return done(NotNow(call.name));
  state_ = State::kBusy;
  call_ = call;
  done_ = std::move(done);
  bound_ = loop_.At(EventLoop::Clock::now() + call.bound, [this] {
    call_.on_failure = OnFailure::kDestroy;
    Settle(Error{ErrorKind::kUnavailable, "microvm.bound",
                 "the monitor did not answer for " +
                     std::to_string(std::chrono::duration_cast<seconds>(call_.bound).count()) +
                     " s"});
  });
  if (Status started = start(); !started) {
    // From the loop, as every answer.
    loop_.Remove(bound_);
    bound_ = loop_.At(EventLoop::Clock::now(),
                      [this, error = std::move(started).error()] { Settle(error); });
  }
}

void Vmm::Settle(Status status) {
  if (state_ != State::kBusy) return;
  loop_.Remove(bound_);
  Done done = std::move(done_);
  if (status || call_.on_failure == OnFailure::kStayPaused) {
    state_ = status ? call_.to : State::kPaused;
    return done(std::move(status));
  }
  MachineEnd end{MachineEnd::Kind::kBroken, std::string("the machine could not ") + call_.name +
                                                " and was destroyed: " + status.error().message};
  OnEnd on_end = std::move(on_end_);
  Kill();
  done(std::move(status));  // this may be gone now
  if (on_end) on_end(end);
}

void Vmm::Ended(const MachineEnd& end) {
  if (state_ == State::kEnded) return;
  Done done = std::move(done_);
  OnEnd on_end = std::move(on_end_);
  Kill();
  if (done) done(Error{ErrorKind::kUnavailable, "microvm.ended", end.text});
  if (on_end) on_end(end);
}

void Vmm::Forget() {
  loop_.Remove(bound_);
  done_ = nullptr;
  on_end_ = nullptr;
}

}  // namespace writ::backends::microvm
