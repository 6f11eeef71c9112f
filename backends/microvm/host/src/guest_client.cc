#include "writ/backends/microvm/guest_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "shown.h"
#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/relay.h"
#include "writ/base/encoding.h"

namespace writ::backends::microvm {
namespace {

constexpr int kOk = 200;
constexpr std::size_t kOffers = 4;            // waiting for connections at once
constexpr std::size_t kMaxConnections = 128;  // of one job at once
constexpr std::size_t kMaxGivenBack = 4 * kOffers;
constexpr std::uint64_t kNanos = 1'000'000'000;
constexpr std::size_t kEntropyBytes = 64;
constexpr std::size_t kIdBytes = 16;
constexpr std::size_t kMaxRefused = kMaxRefusedRecords;
// A guest that runs answers in milliseconds; an emulated one on a busy host may be kept waiting.
constexpr std::chrono::seconds kPulse{60};
// For holding its job, which it bounds itself by a second.
constexpr std::chrono::seconds kHold{10};

std::uint64_t Realtime() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanos + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

GuestTokens GuestTokens::Make() {
  return {HexEncode(RandomBytes(kTokenBytes)), HexEncode(RandomBytes(kTokenBytes))};
}

GuestClient::GuestClient(EventLoop& loop, GuestTokens tokens, Events events)
    : loop_(loop), tokens_(std::move(tokens)), events_(std::move(events)) {}

GuestClient::~GuestClient() {
  lost_ = true;
  loop_.Remove(pulse_);
  loop_.Remove(turn_bound_);
  loop_.Remove(sizes_watch_);
  entries_.reset();
  session_.reset();
}

Status GuestClient::Begin(UniqueFd channel, JobOrder order, GuestFds fds) {
  order_ = std::move(order);
  fds_ = std::move(fds);
  return Greet(std::move(channel));
}

Status GuestClient::BeginQuiesce(UniqueFd channel, Quiescing quiescing) {
  quiescing_ = std::move(quiescing);
  return Greet(std::move(channel));
}

Status GuestClient::Greet(UniqueFd channel) {
  Session::Events events;
  events.on_closed = [this](const std::string& reason) { Lost(reason); };
  WRIT_ASSIGN(session_, Session::Make(loop_, std::move(channel), Session::Side::kHost, tokens_.host,
                                      std::move(events)));
  entries_ = std::make_unique<GuestEntries>(loop_, *session_,
                                            [this](const std::string& why) { Lost(why); });
  Ask("/hello", {}, [this](const std::string& answer) { OnHello(answer); });
  return {};
}

void GuestClient::Ask(std::string_view path, std::string question,
                      std::function<void(std::string)> answered) {
  auto stream = session_->Request(path);
  if (!stream) return Lost(stream.error().message);
  struct Answer {
    int status = 0;
    std::string bytes;
    bool whole = false;
  };
  auto answer = std::make_shared<Answer>();
  StreamPtr asked = *stream;
  asked->on_status = [answer](int status) { answer->status = status; };
  asked->on_bytes = [this, asked, answer](std::string_view bytes) {
    asked->Consumed(bytes.size());
    answer->bytes.append(bytes);
    if (answer->bytes.size() > kMaxWordBytes) Lost("the guest's answer is longer than it may be");
  };
  asked->on_end = [answer] { answer->whole = true; };
  asked->on_closed = [this, answer, answered = std::move(answered), name = std::string(path)]() {
    if (lost_) return;
    if (!answer->whole || answer->status != kOk)
      return Lost("the guest refused " + name + ": " + Shown(answer->bytes));
    answered(answer->bytes);
  };
  asked->Write(question);
  asked->Finish();
  ::explicit_bzero(question.data(), question.size());
}

void GuestClient::OnHello(const std::string& answer) {
  auto hello = DecodeHello(answer);
  if (!hello) return Lost(hello.error().message);
  if (!ConstantTimeEqual(hello->token, tokens_.guest))
    return Lost("the guest on the channel is not the one that was booted");
  if (!hello->usable)
    return Lost("no job can be held in this guest: " + Shown(hello->unusable_reason));
  hello_ = std::move(*hello);
  if (!quiescing_) return SendIdentity();
  WarmUpNext(0);
}

// From the `index`th command on; after the last one the guest is made quiet.
void GuestClient::WarmUpNext(std::size_t index) {
  if (index == quiescing_->warm_up.size())
    return Ask("/quiesce", {}, [this](const std::string&) {
      lost_ = true;  // the session's end is no loss any more
      quiescing_->on_quiesced();
    });
  if (quiescing_->on_warm_up) quiescing_->on_warm_up(index);
  Ask("/warm-up", Encode(WarmUp{{"/bin/sh", "-c", quiescing_->warm_up[index]}}),
      [this, index](const std::string& answer) {
        auto warmed = DecodeWarmedUp(answer);
        if (!warmed) return Lost(warmed.error().message);
        if (warmed->status.ShellCode() == 0) return WarmUpNext(index + 1);
        std::string_view said = warmed->output;
        if (said.size() > kMaxShown) said.remove_prefix(said.size() - kMaxShown);
        Lost("warm-up command " + std::to_string(index + 1) + " ended with " +
             std::to_string(warmed->status.ShellCode()) + ": " + Shown(said));
      });
}

void GuestClient::SendIdentity() {
  Identity identity;
  identity.entropy = RandomBytes(kEntropyBytes);
  identity.realtime_ns = Realtime();
  machine_id_ = identity.machine_id = HexEncode(RandomBytes(kIdBytes));
  host_name_ = identity.host_name = "writ-" + identity.machine_id.substr(0, 12);
  tokens_.host = HexEncode(RandomBytes(kTokenBytes));
  identity.token = tokens_.host;
  Ask("/identity", Encode(identity), [this](const std::string& taken) { OnIdentityTaken(taken); });
}

void GuestClient::OnIdentityTaken(const std::string& answer) {
  auto taken = DecodeIdentityTaken(answer);
  if (!taken) return Lost(taken.error().message);
  if (taken->host_name != host_name_ || taken->machine_id != machine_id_)
    return Lost("the guest did not take its own name");
  session_->SetToken(tokens_.host);
  SendJob();
  Watch();
}

void GuestClient::SendJob() {
  Listen("/stdout", std::move(fds_.out));
  Listen("/stderr", std::move(fds_.err));
  auto stream = session_->Request("/job");
  if (!stream) return Lost(stream.error().message);
  job_ = *stream;
  auto frames = std::make_shared<FrameReader>(kMaxWordBytes);
  job_->on_bytes = [this, frames](std::string_view bytes) {
    job_->Consumed(bytes.size());
    Status read = frames->Add(bytes, [this](std::string_view word) { return OnWord(word); });
    if (!read) Lost(read.error().message);
  };
  job_->on_end = job_->on_closed = [this] {
    if (!ended_) Lost("the guest gave the job up without a word");
  };
  job_->Write(Frame(Encode(HostWord(std::move(order_)))));
}

void GuestClient::Listen(std::string_view path, UniqueFd fd) {
  auto stream = session_->Request(path);
  if (!stream) return Lost(stream.error().message);
  ++outputs_open_;
  (*stream)->Finish();
  StartRelay(loop_, std::move(fd), *stream, Ways::kToFd, [this] {
    --outputs_open_;
    MaybeEnded();
  });
}

Status GuestClient::OnWord(std::string_view bytes) {
  WRIT_ASSIGN(GuestWord word, DecodeGuestWord(bytes));
  auto out_of_turn = [] {
    return Error{ErrorKind::kInvalid, "microvm.turn", "the guest spoke out of turn"};
  };
  if (ended_) return out_of_turn();
  if (std::holds_alternative<Held>(word)) {
    if (holds_ == 0) return out_of_turn();
    --holds_;
    OnHeld();
  } else if (std::holds_alternative<Prepared>(word)) {
    if (!events_.on_prepared) return out_of_turn();
    auto prepared = std::exchange(events_.on_prepared, nullptr);
    while (events_.connect && offers_ < kOffers) Offer();
    prepared();
  } else if (std::holds_alternative<Started>(word)) {
    if (!events_.on_started || events_.on_prepared) return out_of_turn();
    std::exchange(events_.on_started, nullptr)();
  } else if (auto* refused = std::get_if<Refused>(&word)) {
    if (++refused_ <= kMaxRefused)
      events_.on_refused(
          {Shown(refused->program), Shown(refused->address), Shown(refused->reason)});
  } else if (std::holds_alternative<ClockSet>(word)) {
    if (!clock_set_) return out_of_turn();
    loop_.Remove(turn_bound_);
    std::exchange(clock_set_, nullptr)();
  } else {
    ended_ = std::get<Ended>(std::move(word));
    ended_->reason = Shown(ended_->reason);
    loop_.Remove(turn_bound_);
    OnHeld();
    if (clock_set_) std::exchange(clock_set_, nullptr)();
    MaybeEnded();
  }
  return {};
}

// The guest's word and its output come on streams of their own.
void GuestClient::MaybeEnded() {
  if (lost_ || !ended_ || outputs_open_ > 0 || std::exchange(end_told_, true)) return;
  events_.on_ended(*ended_);
}

void GuestClient::Start(Go go) {
  if (!job_) return;
  std::string bytes = Frame(Encode(HostWord(std::move(go))));
  job_->Write(bytes);
  ::explicit_bzero(bytes.data(), bytes.size());
}

void GuestClient::Cancel() {
  if (job_) job_->Write(Frame(Encode(HostWord(microvm::Cancel{}))));
}

void GuestClient::OpenTerminal(UniqueFd in, UniqueFd sizes) {
  auto stream = session_->Request("/stdin");
  if (!stream) return Lost(stream.error().message);
  StartRelay(loop_, std::move(in), *stream, Ways::kToStream, {});
  sizes_ = std::move(sizes);
  sizes_watch_ = loop_.Add(sizes_.get(), POLLIN, [this](short) {
    Resize resize;
    const ssize_t n = ::recv(sizes_.get(), &resize.size, sizeof resize.size, MSG_DONTWAIT);
    if (n == static_cast<ssize_t>(sizeof resize.size))
      job_->Write(Frame(Encode(HostWord(resize))));
    else if (n >= 0 || (errno != EAGAIN && errno != EINTR))
      loop_.SetEvents(sizes_watch_, 0);
  });
}

Status GuestClient::Enter(std::uint64_t id, launch::EntryRequest request, GuestEntryFds fds,
                          GuestEntries::Events events) {
  if (!job_ || events_.on_started || ended_ || lost_)
    return Error{ErrorKind::kConflict, "microvm.entry", "the job does not run (any more)"};
  return entries_->Enter(id, std::move(request), std::move(fds), std::move(events));
}

void GuestClient::SignalEntry(std::uint64_t id, int signal) {
  if (entries_) entries_->Signal(id, signal);
}

void GuestClient::HoldStill(std::function<void()> held) {
  held_ = std::move(held);
  if (ended_ || lost_ || !job_) return OnHeld();
  ++holds_;
  turn_bound_ = loop_.At(EventLoop::Clock::now() + kHold, [this] { OnHeld(); });
  job_->Write(Frame(Encode(HostWord(Hold{}))));
}

// Once: an answer that comes too late is no other's.
void GuestClient::OnHeld() {
  if (!held_) return;
  loop_.Remove(turn_bound_);
  loop_.Remove(pulse_);
  pulse_ = 0;
  std::exchange(held_, nullptr)();
}

void GuestClient::GoOn(std::function<void()> set) {
  if (lost_ || !job_) return;
  if (pulse_ == 0) {
    alive_ = true;
    Watch();
  }
  if (ended_) return set();
  clock_set_ = std::move(set);
  loop_.Remove(turn_bound_);
  turn_bound_ = loop_.At(EventLoop::Clock::now() + kPulse,
                         [this] { Lost("the guest did not take the time after a pause"); });
  job_->Write(Frame(Encode(HostWord(SetClock{Realtime()}))));
}

void GuestClient::Offer() {
  auto stream = session_->Request("/proxy");
  if (!stream) return;
  ++offers_;
  StreamPtr offered = *stream;
  // Given back unused: at the job's end each is, once.
  offered->on_closed = [this] {
    --offers_;
    if (lost_ || ended_) return;
    if (++given_back_ > kMaxGivenBack) return Lost("the guest refuses its job's connections");
    if (offers_ + connections_ < kMaxConnections && offers_ < kOffers) Offer();
  };
  offered->on_status = [this, offered](int status) {
    if (status != kOk) return offered->Reset();
    --offers_;
    UniqueFd peer = events_.connect();
    if (!peer) {
      offered->on_closed = nullptr;
      offered->Reset();
    } else {
      ++connections_;
      StartRelay(loop_, std::move(peer), offered, Ways::kBoth, [this] {
        --connections_;
        while (!ended_ && !lost_ && offers_ < kOffers && connections_ < kMaxConnections) Offer();
      });
    }
    while (offers_ < kOffers && offers_ + connections_ < kMaxConnections) Offer();
  };
}

void GuestClient::FetchChanges(UniqueFd workspace, TreeLimits limits) {
  auto stream = session_->Request("/changes");
  if (!stream) return Lost(stream.error().message);
  StreamPtr asked = *stream;
  auto reader = std::make_shared<TreeReader>(std::move(workspace), limits);
  auto told = std::make_shared<bool>(false);
  auto tell = [this, told](Status status) {
    if (!std::exchange(*told, true) && !lost_) events_.on_changes(std::move(status));
  };
  asked->on_bytes = [asked, reader, tell](std::string_view bytes) {
    asked->Consumed(bytes.size());
    Status taken = reader->Add(bytes);
    if (taken) return;
    tell(std::move(taken));
    asked->Reset();
  };
  asked->on_closed = [reader, tell] {
    if (reader->complete()) return tell({});
    tell(Error{ErrorKind::kUnavailable, "microvm.changes_cut",
               "the guest did not give out all that the job changed"});
  };
  asked->Finish();
}

void GuestClient::Watch() {
  if (!std::exchange(alive_, false))
    return Lost("the guest's agent gave no sign of life for " + std::to_string(kPulse.count()) +
                " s");
  session_->Ping([this] { alive_ = true; });
  pulse_ = loop_.At(EventLoop::Clock::now() + kPulse, [this] { Watch(); });
}

void GuestClient::Lost(const std::string& why) {
  if (std::exchange(lost_, true)) return;
  loop_.Remove(pulse_);
  loop_.Remove(turn_bound_);
  events_.on_lost(why);
}

}  // namespace writ::backends::microvm
