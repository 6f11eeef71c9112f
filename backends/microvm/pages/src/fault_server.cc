#include "fault_server.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "writ/base/encoding.h"

namespace writ::backends::microvm::pages {
namespace {

constexpr std::size_t kMessages = 16;      // read at once
constexpr std::size_t kMaxPutOff = 65536;  // threads of a VMM that wait
constexpr int kRetryMs = 1;                // memory is being removed: nothing tells when it is done
constexpr unsigned kMaxReopened = 1000;

Error Strange(std::string code, std::string message) {
  return Error{ErrorKind::kInvalid, std::move(code), std::move(message)};
}

bool SetNonBlocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ((flags & O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

}  // namespace

FaultServer::FaultServer(UniqueFd uffd, GuestRegions regions, VerifiedMemory& memory,
                         RestorePlan plan, const ServingOptions& options,
                         std::atomic<unsigned>& spinning, CounterCells& counters,
                         const StopSign& stop, std::function<void(Observation)> observed)
    : options_(options),
      counters_(counters),
      memory_(std::move(uffd), std::move(regions), memory, counters_),
      plan_(std::move(plan)),
      spinning_(spinning),
      stop_(stop),
      observed_call_(std::move(observed)),
      around_(options.around) {
  LeaveSomeOut();
}

Status FaultServer::Serve() {
  if (!SetNonBlocking(memory_.uffd()))
    return SysError(errno, "pages.descriptor", "the descriptor of a VMM's faults cannot be set up");
  observed_at_ = Clock::time_point::max();
  Status served = Loop();
  if (spins_) spinning_.fetch_sub(1, std::memory_order_relaxed);
  Observe(Clock::time_point::max());
  return served;
}

Status FaultServer::Loop() {
  while (!stop_.said.load(std::memory_order_relaxed) && !vmm_gone_) {
    WRIT_ASSIGN(const bool some, ReadMessages());
    WRIT_TRY(AnswerPutOff());
    if (vmm_gone_) break;
    const Clock::time_point now = Clock::now();
    Observe(now);
    if (some) {
      spin_until_ = now + options_.spin;
    } else if (next_piece_ < plan_.prefetch.size()) {
      WRIT_TRY(PrefetchPiece());
    } else if (!MaySpin(now)) {
      WRIT_TRY(Sleep());
    }
  }
  return {};
}

Result<bool> FaultServer::ReadMessages() {
  uffd_msg messages[kMessages];
  const ssize_t n = ::read(memory_.uffd(), messages, sizeof messages);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0 || static_cast<std::size_t>(n) % sizeof(uffd_msg) != 0)
    return SysError(n < 0 ? errno : EIO, "pages.read_faults", "faults cannot be read");
  const Clock::time_point now = Clock::now();
  // All of them, even after a failure: a descriptor may have come with one.
  Status first;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n) / sizeof(uffd_msg); ++i) {
    Status taken = Take(messages[i], now);
    if (first && !taken) first = std::move(taken);
  }
  if (!first) return std::move(first).error();
  return true;
}

Status FaultServer::Take(const uffd_msg& message, Clock::time_point now) {
  switch (message.event) {
    case UFFD_EVENT_PAGEFAULT:
      if ((message.arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_MINOR)) != 0)
        return Strange("pages.fault", "the VMM has registered its memory for other faults as well");
      return Answer({message.arg.pagefault.address & ~(kPageBytes - 1), now});
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
      memory_.Removed(message.arg.remove.start, message.arg.remove.end);
      return {};
    case UFFD_EVENT_FORK:
      forked_.emplace_back(static_cast<int>(message.arg.fork.ufd));
      return Strange("pages.fork", "the VMM has forked with its guest's memory");
    default:
      return Strange("pages.remap", "the VMM has moved its guest's memory");
  }
}

Status FaultServer::Answer(const Waiting& fault) {
  const auto page = memory_.regions().PageAt(fault.address);
  if (!page) return Strange("pages.fault", "a fault lies outside of the guest's memory");
  const bool was_spent = memory_.IsSpent(*page);
  around_ = *page == follows_ ? std::min(around_ * 2, options_.around_most) : options_.around;
  if (!observed_ && !was_spent && memory_.IsLeftOut(*page)) {
    counters_.sampled_touched.Add(1);
    ++observation_.touched;
    memory_.LeaveOutNoMore(*page);
  }
  const std::uint64_t around = PlacesLeaves() ? kLeafPages - *page % kLeafPages : around_;
  WRIT_ASSIGN(const auto done, memory_.Fault(fault.address, *page, around));
  switch (done.answer) {
    case pages::Answer::kVmmGone:
      vmm_gone_ = true;
      return {};
    case pages::Answer::kAgain:
      counters_.again.Add(1);
      if (put_off_.size() >= kMaxPutOff)
        return Strange("pages.fault", "too many faults wait while memory is being removed");
      put_off_.push_back(fault);
      return {};
    case pages::Answer::kPresent:
      counters_.present.Add(1);
      break;
    case pages::Answer::kPlaced:
    case pages::Answer::kGone:
      break;
  }
  counters_.Answered(Clock::now() - fault.since);
  Note(*page, was_spent);
  follows_ = *page + std::max<std::uint64_t>(done.pages, 1);
  // The guest goes on already. Its next fault of this leaf, which has been compared with the
  // manifest anyway, is one that nobody has to be woken for.
  return PlacesLeaves() && !was_spent ? PlaceRestOfLeaf(*page) : Status();
}

// While it records: who records the page alone (around_most 1) places it alone.
bool FaultServer::PlacesLeaves() const {
  return plan_.record && !observed_ && options_.around_most > 1;
}

Status FaultServer::PlaceRestOfLeaf(std::uint64_t page) {
  WRIT_ASSIGN(const auto rest, memory_.PlaceLeaf(page));
  if (rest.answer == pages::Answer::kVmmGone) vmm_gone_ = true;
  if (rest.answer == pages::Answer::kAgain) counters_.again.Add(1);  // asked for again, if at all
  return {};
}

Status FaultServer::AnswerPutOff() {
  // Each once: what is put off again waits for the next round.
  for (std::size_t left = put_off_.size(); left > 0 && !vmm_gone_; --left) {
    const Waiting fault = put_off_.front();
    put_off_.pop_front();
    WRIT_TRY(Answer(fault));
  }
  return {};
}

void FaultServer::Note(std::uint64_t page, bool was_spent) {
  if (observed_ || was_spent) return;
  if (!plan_.record || observation_.pages.size() + kLeafPages > kMaxRecordedPages) return;
  // What is placed for it, which nobody will be asked for again.
  const bool leaf = PlacesLeaves();
  const std::uint64_t first = leaf ? page / kLeafPages * kLeafPages : page;
  const std::uint64_t past = leaf ? std::min(first + kLeafPages, memory_.pages()) : page + 1;
  for (std::uint64_t each = first; each < past; ++each)
    observation_.pages.push_back(static_cast<std::uint32_t>(each));
}

void FaultServer::Observe(Clock::time_point now) {
  if (observed_) return;
  const bool goes_on = stop_.goes_on.load(std::memory_order_relaxed);
  const bool over = now == Clock::time_point::max();
  if (goes_on && !over && observed_at_ == Clock::time_point::max())
    observed_at_ = now + options_.observe;
  if (now < observed_at_) return;
  observed_ = true;
  // One that never went on has shown nothing.
  if (!goes_on) return observed_call_({});
  observation_.recorded = plan_.record;
  // What was still on its way says nothing about its use.
  if (next_piece_ == plan_.prefetch.size()) observation_.sampled = counters_.sampled.Read();
  observed_call_(std::move(observation_));
}

void FaultServer::LeaveSomeOut() {
  constexpr std::uint64_t kLeafMask = (1ull << kLeafPages) - 1;
  const std::string random = RandomBytes(plan_.prefetch.size() * 2);
  for (std::size_t i = 0; i < plan_.prefetch.size(); ++i) {
    const WorkingSet::Piece& piece = plan_.prefetch[i];
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(random[at]); };
    std::vector<std::uint64_t> leaves;  // first pages, within the piece
    for (std::uint64_t at = 0; at < kPiecePages; at += kLeafPages)
      if (((piece.mask >> at) & kLeafMask) != 0) leaves.push_back(at);
    if (leaves.empty() || byte(2 * i) * kSampleEvery >= leaves.size() * 256) continue;
    const std::uint64_t leaf = leaves[byte(2 * i + 1) % leaves.size()];
    bool any = false;
    for (std::uint64_t at = leaf; at < leaf + kLeafPages; ++at) {
      const std::uint64_t page = piece.index * kPiecePages + at;
      if (((piece.mask >> at) & 1) == 0 || !memory_.regions().PlaceOf(page)) continue;
      memory_.LeaveOut(page);
      any = true;
    }
    if (any) counters_.sampled.Add(1);
  }
}

Status FaultServer::PrefetchPiece() {
  const WorkingSet::Piece& piece = plan_.prefetch[next_piece_];
  WRIT_ASSIGN(const auto done, memory_.Prefetch(piece.index * kPiecePages, piece.mask));
  if (done.answer == pages::Answer::kVmmGone) vmm_gone_ = true;
  if (done.answer == pages::Answer::kAgain) {
    counters_.again.Add(1);
    return Sleep();  // an event is on its way
  }
  ++next_piece_;
  return {};
}

bool FaultServer::MaySpin(Clock::time_point now) {
  const bool wants = now < spin_until_ && put_off_.empty();
  if (wants && !spins_) {
    unsigned others = spinning_.load(std::memory_order_relaxed);
    while (others < options_.spinners && !spins_)
      spins_ = spinning_.compare_exchange_weak(others, others + 1, std::memory_order_relaxed);
  } else if (!wants && spins_) {
    spinning_.fetch_sub(1, std::memory_order_relaxed);
    spins_ = false;
  }
  return wants && spins_;
}

Status FaultServer::Sleep() {
  pollfd fds[] = {{memory_.uffd(), POLLIN, 0}, {stop_.wake.get(), POLLIN, 0}};
  int timeout = -1;
  if (!observed_ && observed_at_ != Clock::time_point::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(observed_at_ - Clock::now());
    timeout = static_cast<int>(std::max<std::int64_t>(left.count(), 0));
  }
  if (!put_off_.empty() || next_piece_ < plan_.prefetch.size()) timeout = kRetryMs;
  if (::poll(fds, 2, timeout) > 0 && (fds[0].revents & POLLERR) != 0) {
    // The kernel says so of a descriptor that blocks; the VMM shares ours and may change it.
    if (++reopened_ > kMaxReopened || !SetNonBlocking(memory_.uffd()))
      return Strange("pages.descriptor", "the VMM keeps changing the descriptor of its faults");
  }
  return {};
}

}  // namespace writ::backends::microvm::pages
