#include "clone.h"

#include <fcntl.h>
#include <poll.h>

#include <chrono>
#include <string>
#include <utility>

namespace writ::backends::microvm::pages {
namespace {

constexpr std::chrono::milliseconds kStopAgain{50};

}  // namespace

Clone::Clone(EventLoop& loop, UniqueFd control, uid_t vmm_uid,
             std::shared_ptr<ServedSnapshot> snapshot, const ServingOptions& options,
             std::atomic<unsigned>& spinning, std::function<void()> over)
    : loop_(loop),
      control_(std::move(control)),
      vmm_uid_(vmm_uid),
      snapshot_(std::move(snapshot)),
      options_(options),
      spinning_(spinning),
      over_(std::move(over)) {
  (void)::fcntl(control_.get(), F_SETFL, ::fcntl(control_.get(), F_GETFL) | O_NONBLOCK);
  control_watch_ = loop_.Add(control_.get(), POLLIN, [this](short) { OnControl(); });
}

Clone::~Clone() {
  for (auto id : {control_watch_, pidfd_watch_, again_}) loop_.Remove(id);
}

void Clone::OnControl() {
  auto received = ReceiveWithFds(control_.get(), kMaxWordBytes);
  if (!received && received.error().sys_errno == EAGAIN) return;
  if (received && received->bytes.empty()) return End();
  Status taken = received ? OnWord(received->bytes, std::move(received->fds))
                          : Status(std::move(received).error());
  if (!taken) Fail(taken.error());
}

Status Clone::OnWord(std::string_view bytes, std::vector<UniqueFd> fds) {
  WRIT_ASSIGN(const OwnerWord word, DecodeOwnerWord(bytes));
  if (const auto* serve = std::get_if<Serve>(&word)) return StartServing(*serve, std::move(fds));
  if (std::holds_alternative<GoesOn>(word)) {
    if (thread_) thread_->GoOn();
    return {};
  }
  Tell(Counters{Read()});
  return {};
}

Status Clone::StartServing(const Serve& serve, std::vector<UniqueFd> fds) {
  if (thread_ || failed_ || fds.size() != 1)
    return Error{ErrorKind::kInvalid, "pages.word", "a clone is served once, on one socket"};
  WRIT_TRY(PrepareSocket(serve.by, fds[0].get()));
  CloneThread::Events events;
  events.plan = [this] { return snapshot_->Plan(); };
  events.attached = [this](Attached attached, UniqueFd pidfd) {
    loop_.Post([this, attached, fd = std::make_shared<UniqueFd>(std::move(pidfd))] {
      OnAttached(attached, std::move(*fd));
    });
  };
  events.observed = [this](Observation observation) {
    loop_.Post([this, seen = std::move(observation)] { snapshot_->Observed(seen); });
  };
  events.ended = [this](const Status& status) { loop_.Post([this, status] { OnEnded(status); }); };
  thread_ =
      std::make_unique<CloneThread>(snapshot_->memory(), options_, spinning_, std::move(events));
  WRIT_TRY(thread_->Start(serve, std::move(fds[0]), vmm_uid_));
  running_ = true;
  Tell(Ready{});
  return {};
}

void Clone::OnAttached(Attached attached, UniqueFd pidfd) {
  Tell(attached);
  pidfd_ = std::move(pidfd);
  if (!pidfd_) return;
  pidfd_watch_ = loop_.Add(pidfd_.get(), POLLIN, [this](short) {
    loop_.Remove(pidfd_watch_);
    vmm_ended_ = true;
    End();
  });
}

void Clone::OnEnded(const Status& status) {
  running_ = false;
  if (ending_) return Finish();
  if (failed_) return;
  if (!status) return Fail(status.error());
  vmm_ended_ = true;
  End();
}

// The thread has stopped or is told to: nothing is answered from here on, and the descriptor of
// the faults is kept until the owner goes.
void Clone::Fail(const Error& error) {
  if (failed_ || ending_) return;
  failed_ = true;
  Tell(ToFailed(error));
  StopThread();
}

void Clone::End() {
  if (ending_) return;
  ending_ = true;
  loop_.Remove(control_watch_);
  if (running_)
    StopThread();
  else
    Finish();
}

void Clone::StopThread() {
  again_ = 0;
  if (!running_) return;
  thread_->Stop();
  again_ = loop_.At(EventLoop::Clock::now() + kStopAgain, [this] { StopThread(); });
}

void Clone::Finish() {
  // Later: this may be within a call of the loop for one of our watches. The last word goes with
  // it: who has read it finds the clone's place free.
  loop_.Post([this, over = over_] {
    Tell(Over{vmm_ended_, Read()});
    over();
  });
}

void Clone::Tell(const ClonesWord& word) {
  // An owner that takes no words gets no more: it finds the end of the stream.
  if (!SendWithFds(control_.get(), Encode(word), {}) && !ending_) End();
}

FaultCounters Clone::Read() const {
  FaultCounters out = thread_ ? thread_->ReadCounters() : FaultCounters{};
  out.hashed_leaves = snapshot_->memory().hashed_leaves();
  return out;
}

}  // namespace writ::backends::microvm::pages
