#include "writ/backends/microvm/guest_entries.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "shown.h"
#include "writ/backends/microvm/frames.h"
#include "writ/backends/microvm/relay.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kMaxWord = 4096;
constexpr std::size_t kMaxStage = 200;

}  // namespace

struct GuestEntries::One {
  std::uint64_t id = 0;
  Events events;
  std::shared_ptr<Stream> control;
  std::vector<std::shared_ptr<Stream>> streams;  // of its bytes
  std::shared_ptr<RelayCount> out = std::make_shared<RelayCount>();
  std::shared_ptr<RelayCount> err = std::make_shared<RelayCount>();
  UniqueFd in;  // until it runs: before that nobody takes its bytes there
  bool started = false;
  std::optional<EntryEnded> ended;
  UniqueFd sizes;
  EventLoop::WatchId sizes_watch = 0;
};

GuestEntries::~GuestEntries() {
  while (!entries_.empty()) {
    const std::shared_ptr<One> one = entries_.begin()->second;  // not the table's own
    Close(one);
  }
}

Status GuestEntries::Enter(std::uint64_t id, launch::EntryRequest request, GuestEntryFds fds,
                           Events events) {
  if (entries_.contains(id))
    return Error{ErrorKind::kConflict, "microvm.entry", "there is an entry of that number"};
  if (entries_.size() >= kMaxGuestEntries)
    return Error{ErrorKind::kOverloaded, "microvm.entry", "too many at once"};
  const std::string path = "/entry/" + std::to_string(id);
  auto one = std::make_shared<One>();
  one->id = id;
  one->events = std::move(events);
  WRIT_ASSIGN(one->control, session_.Request(path));
  entries_[id] = one;
  auto frames = std::make_shared<FrameReader>(kMaxWord);
  const std::weak_ptr<One> weak = one;  // the stream is its own
  one->control->on_bytes = [this, weak, frames](std::string_view bytes) {
    auto held = weak.lock();
    if (!held) return;
    held->control->Consumed(bytes.size());
    Status read =
        frames->Add(bytes, [this, &held](std::string_view word) { return OnWord(held, word); });
    if (!read) broken_(read.error().message);
  };
  one->control->on_closed = [this, weak] {
    auto held = weak.lock();
    if (!held) return;
    const bool failed = !held->started;
    auto tell = held->events.on_failed;
    if (held->ended) return;  // its end is still being passed on
    Close(held);
    if (failed && tell) tell({"the guest gave it up", EIO});
  };
  // Its own descriptor, and a stream each.
  auto carry = [&](const char* name, UniqueFd fd, std::shared_ptr<RelayCount> count) -> Status {
    WRIT_ASSIGN(std::shared_ptr<Stream> stream, session_.Request(path + name));
    one->streams.push_back(stream);
    if (!fd) {
      stream->Finish();
      count->done = true;
      return {};
    }
    count->changed = [this, weak] {
      if (auto held = weak.lock()) MaybeEnded(held);
    };
    StartRelay(loop_, std::move(fd), stream, Ways::kToFd, {}, std::move(count));
    return {};
  };
  auto opened = session_.Request(path + "/in");
  Status carried = opened ? Status() : Status(opened.error());
  if (carried) one->streams.push_back(*opened);
  one->in = std::move(fds.in);
  if (carried) carried = carry("/out", std::move(fds.out), one->out);
  if (carried) carried = carry("/err", std::move(fds.err), one->err);
  if (!carried) {
    Close(one);
    return carried;
  }
  one->sizes = std::move(fds.sizes);
  if (one->sizes)
    one->sizes_watch = loop_.Add(one->sizes.get(), POLLIN, [this, weak](short) {
      auto held = weak.lock();
      EntryResize resize;
      if (!held) return;
      const ssize_t n = ::recv(held->sizes.get(), &resize.size, sizeof resize.size, MSG_DONTWAIT);
      if (n == static_cast<ssize_t>(sizeof resize.size))
        held->control->Write(Frame(Encode(EntryHostWord(resize))));
      else if (n >= 0 || (errno != EAGAIN && errno != EINTR))
        loop_.SetEvents(held->sizes_watch, 0);
    });
  std::string order = Frame(Encode(EntryHostWord(EntryOrder{std::move(request)})));
  one->control->Write(order);
  // It may carry the proxy's token.
  ::explicit_bzero(order.data(), order.size());
  return {};
}

Status GuestEntries::OnWord(const std::shared_ptr<One>& one, std::string_view bytes) {
  WRIT_ASSIGN(EntryGuestWord word, DecodeEntryGuestWord(bytes));
  const bool starts = std::holds_alternative<EntryStarted>(word);
  if (one->ended || one->started == (starts || std::holds_alternative<EntryFailed>(word)))
    return Error{ErrorKind::kInvalid, "microvm.turn", "the guest spoke out of turn"};
  if (starts) {
    one->started = true;
    StartRelay(loop_, std::move(one->in), one->streams.front(), Ways::kToStream, {});
    if (one->events.on_started) one->events.on_started();
  } else if (auto* failed = std::get_if<EntryFailed>(&word)) {
    auto tell = one->events.on_failed;
    Close(one);
    if (tell) tell({Shown(failed->stage).substr(0, kMaxStage), failed->err});
  } else {
    one->ended = std::get<EntryEnded>(word);
    MaybeEnded(one);
  }
  return {};
}

// Where nobody saw its end nothing is told: the session's own end, which comes now, is its.
void GuestEntries::MaybeEnded(const std::shared_ptr<One>& one) {
  if (!one->ended || !entries_.contains(one->id)) return;
  auto passed = [](const RelayCount& count, std::uint64_t bytes) {
    return count.done || count.bytes >= bytes;
  };
  if (!passed(*one->out, one->ended->out_bytes) || !passed(*one->err, one->ended->err_bytes))
    return;
  auto tell = one->events.on_ended;
  Close(one);
  if (one->ended->status && tell) tell(*one->ended->status);
}

void GuestEntries::Signal(std::uint64_t id, int signal) {
  auto at = entries_.find(id);
  if (at == entries_.end()) return;
  at->second->control->Write(Frame(Encode(EntryHostWord(EntrySignal{signal}))));
}

// All its descriptors are closed by it.
void GuestEntries::Close(const std::shared_ptr<One>& one) {
  entries_.erase(one->id);
  loop_.Remove(one->sizes_watch);
  one->sizes.reset();
  one->control->on_bytes = nullptr;
  one->control->on_closed = nullptr;
  one->control->Reset();
  for (const auto& stream : one->streams) stream->Reset();
  one->out->changed = one->err->changed = nullptr;
}

}  // namespace writ::backends::microvm
