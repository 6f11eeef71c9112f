#include "guest_entry.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <variant>

namespace writ::backends::microvm {
namespace {

constexpr int kOk = 200;
constexpr std::size_t kMaxWaitingSignals = 16;

EntryPlan PlanOf(launch::EntryRequest request) {
  using Kind = launch::EntryRequest::Kind;
  EntryPlan plan;
  plan.kind = request.kind == Kind::kCommand      ? EntryPlan::Kind::kCommand
              : request.kind == Kind::kCheckpoint ? EntryPlan::Kind::kCheckpoint
              : request.kind == Kind::kCopyOut    ? EntryPlan::Kind::kCopyOut
                                                  : EntryPlan::Kind::kCopyIn;
  plan.argv = std::move(request.argv);
  plan.cwd = std::move(request.cwd);
  for (std::string& entry : request.environment) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos)
      plan.env.vars.push_back({entry.substr(0, equals), entry.substr(equals + 1)});
    ::explicit_bzero(entry.data(), entry.size());
  }
  plan.terminal = request.terminal;
  plan.path = std::move(request.path);
  plan.limits = request.limits;
  return plan;
}

EntryFailed FailureOf(const Error& error) {
  if (error.kind == ErrorKind::kConflict) return {"the session is over", ESRCH};
  return {error.message, error.sys_errno};
}

// What it has written by now and nobody has read yet.
std::uint64_t Waiting(int fd) {
  int bytes = 0;
  return fd >= 0 && ::ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0
             ? static_cast<std::uint64_t>(bytes)
             : 0;
}

UniqueFd CopyOf(int fd) {
  return UniqueFd(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

}  // namespace

GuestEntry::~GuestEntry() {
  loop_.Remove(ended_);
  if (starting_.joinable()) starting_.join();
}

void GuestEntry::Begin(const std::shared_ptr<Stream>& control) {
  control_ = control;
  control->Answer(kOk);
  const std::weak_ptr<GuestEntry> weak = weak_from_this();
  control->on_bytes = [weak](std::string_view bytes) {
    auto self = weak.lock();
    if (!self) return;
    self->control_->Consumed(bytes.size());
    Status read =
        self->frames_.Add(bytes, [&self](std::string_view word) { return self->OnWord(word); });
    if (!read) self->control_->Reset();
  };
  control->on_closed = [weak] {
    if (auto self = weak.lock()) self->Gone();
  };
}

bool GuestEntry::Take(std::string_view name, const std::shared_ptr<Stream>& stream) {
  std::shared_ptr<Stream>* place = name == "in"    ? &in_
                                   : name == "out" ? &out_
                                   : name == "err" ? &err_
                                                   : nullptr;
  if (place == nullptr || *place || entry_) return false;
  *place = stream;
  return true;
}

Status GuestEntry::OnWord(std::string_view bytes) {
  WRIT_ASSIGN(EntryHostWord word, DecodeEntryHostWord(bytes));
  if (auto* order = std::get_if<EntryOrder>(&word)) {
    if (std::exchange(ordered_, true))
      return Error{ErrorKind::kConflict, "agent.entry", "it has been ordered"};
    Start(PlanOf(std::move(order->request)));
  } else if (const auto* signal = std::get_if<EntrySignal>(&word)) {
    if (entry_) (void)entry_->Signal(signal->signal).has_value();
    if (!entry_ && signals_.size() < kMaxWaitingSignals) signals_.push_back(signal->signal);
  } else if (entry_) {
    (void)entry_->Resize(std::get<EntryResize>(word).size).has_value();
  }
  return {};
}

void GuestEntry::Start(EntryPlan plan) {
  terminal_ = plan.terminal.has_value();
  if (!job_) return Say(EntryFailed{"the session is over", ESRCH});
  if (plan.kind == EntryPlan::Kind::kCheckpoint) return OnEntered(checkpoint_());
  auto entered = std::make_shared<std::optional<Result<std::unique_ptr<Entry>>>>();
  const std::weak_ptr<GuestEntry> weak = weak_from_this();
  starting_ =
      std::jthread([&loop = loop_, job = job_, plan = std::move(plan), entered, weak]() mutable {
        entered->emplace(job->Enter(std::move(plan)));
        // Where nobody is there any more, its end undoes it.
        loop.Post([entered, weak] {
          if (auto self = weak.lock()) self->OnEntered(std::move(**entered));
        });
      });
}

void GuestEntry::OnEntered(Result<std::unique_ptr<Entry>> entered) {
  if (starting_.joinable()) starting_.join();
  if (!control_->open()) return Gone();
  if (!entered) return Say(FailureOf(entered.error()));
  entry_ = std::move(entered).value();
  Say(EntryStarted{});
  Carry();
  for (int signal : signals_) (void)entry_->Signal(signal).has_value();
  const std::weak_ptr<GuestEntry> weak = weak_from_this();
  ended_ = loop_.Add(entry_->event_fd(), POLLIN, [weak](short) {
    if (auto self = weak.lock()) self->OnEnd();
  });
}

void GuestEntry::Carry() {
  const std::weak_ptr<GuestEntry> weak = weak_from_this();
  auto carry = [this](const std::shared_ptr<Stream>& stream, int fd, Ways ways,
                      std::function<void()> done, std::shared_ptr<RelayCount> count) {
    if (!stream) return;
    stream->Answer(kOk);
    UniqueFd copy = CopyOf(fd);
    if (!copy) return stream->Finish();
    StartRelay(loop_, std::move(copy), stream, ways, std::move(done), std::move(count));
  };
  carry(
      in_, entry_->input(), Ways::kToFd,
      [weak] {
        auto self = weak.lock();
        if (self && self->entry_ && !self->terminal_) self->entry_->CloseInput();
      },
      nullptr);
  carry(out_, entry_->output(), Ways::kToStream, {}, out_count_);
  carry(err_, entry_->errors(), Ways::kToStream, {}, err_count_);
}

void GuestEntry::OnEnd() {
  const std::optional<EntryEnd> end = entry_->End();
  if (!end) return;
  loop_.Remove(ended_);
  Say(EntryEnded{end->status, out_count_->bytes + Waiting(entry_->output()),
                 err_count_->bytes + Waiting(entry_->errors())});
}

void GuestEntry::Say(const EntryGuestWord& word) {
  control_->Write(Frame(Encode(word)));
  if (!std::holds_alternative<EntryStarted>(word)) control_->Finish();
}

// Its streams are the host's to end, and with them its descriptors.
void GuestEntry::Gone() {
  if (starting_.joinable()) return;  // once it has started it ends
  auto self = shared_from_this();
  loop_.Remove(ended_);
  control_->on_bytes = nullptr;
  for (auto* stream : {&in_, &out_, &err_})
    if (*stream) (*stream)->Reset();
  entry_.reset();
  if (auto gone = std::exchange(gone_, nullptr)) gone();
}

}  // namespace writ::backends::microvm
