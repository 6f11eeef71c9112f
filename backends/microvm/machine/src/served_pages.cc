#include "served_pages.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <variant>

#include "writ/backends/microvm/machine_order.h"

namespace writ::backends::microvm {

Result<std::unique_ptr<ServedPages>> ServedPages::Begin(EventLoop& loop, UniqueFd supplies,
                                                        Machine machine,
                                                        std::function<void()> attached,
                                                        OnLost lost) {
  constexpr std::size_t kSupplies = 2;
  auto given = ReceiveWithFds(supplies.get(), 16);
  if (!given || given->bytes != kSuppliesWord || given->fds.size() != kSupplies)
    return Error{ErrorKind::kInternal, "microvm.supplies", "what serves its memory was not given"};
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return SysError(errno, "microvm.socketpair", "cannot make a socket pair");
  const UniqueFd servers(ends[0]);
  std::unique_ptr<ServedPages> out(new ServedPages(
      loop, std::move(supplies), std::move(given->fds[0]), std::move(attached), std::move(lost)));
  out->stream_.reset(ends[1]);
  out->device_ = std::move(given->fds[1]);
  WRIT_TRY(out->client_.Serve({pages::Serve::By::kStream, std::nullopt, machine == Machine::kWaits},
                              servers.get()));
  return out;
}

std::unique_ptr<ServedPages> ServedPages::Adopt(EventLoop& loop, UniqueFd supplies,
                                                UniqueFd control, OnLost lost) {
  std::unique_ptr<ServedPages> out(new ServedPages(
      loop, std::move(supplies), std::move(control), [] {}, std::move(lost)));
  out->attached_ = true;
  (void)out->client_.GoOn().has_value();  // a server that is gone is told by its end
  return out;
}

UniqueFd ServedPages::HandOver() {
  loop_.Remove(watch_);
  return std::exchange(client_, pages::PageClient(UniqueFd())).TakeControl();
}

ServedPages::ServedPages(EventLoop& loop, UniqueFd supplies, UniqueFd control,
                         std::function<void()> attached, OnLost lost)
    : loop_(loop),
      supplies_(std::move(supplies)),
      client_(std::move(control)),
      attached_call_(std::move(attached)),
      lost_(std::move(lost)) {
  watch_ = loop_.Add(client_.fd(), POLLIN, [this](short) { OnControl(); });
}

PageServer ServedPages::memory() const {
  PageServer out;
  out.preload = kPreloadPlace;
  out.stream = stream_.get();
  out.device = device_.get();
  return out;
}

void ServedPages::HandedOver() {
  stream_.reset();
  device_.reset();
}

void ServedPages::OnControl() {
  auto word = client_.Receive();
  if (!word) return Lost(word.error());
  if (const auto* failed = std::get_if<pages::Failed>(&*word)) return Lost(pages::ToError(*failed));
  if (std::holds_alternative<pages::Counters>(*word))
    return (void)SendWithFds(supplies_.get(), pages::Encode(*word), {}).has_value();
  // The monitor has ended, which whoever watches it tells.
  if (std::holds_alternative<pages::Over>(*word)) return loop_.Remove(watch_);
  if (!std::holds_alternative<pages::Attached>(*word) || attached_) return;
  attached_ = true;
  attached_call_();
}

void ServedPages::Lost(const Error& why) {
  loop_.Remove(watch_);
  lost_(why);
}

}  // namespace writ::backends::microvm
