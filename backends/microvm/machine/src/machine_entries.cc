#include "machine_entries.h"

#include <string.h>

#include <cerrno>
#include <charconv>
#include <memory>
#include <string>
#include <utility>

#include "writ/backends/launch/inside.h"
#include "writ/base/file.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kMaxRequestBytes = kMaxEntryOrderBytes;

void Report(int report, std::string_view stage, int err) {
  const std::string text = launch::kFailureReport + std::to_string(err) + " " + std::string(stage);
  (void)SendWithFds(report, text, {}).has_value();
}

}  // namespace

bool MachineEntries::OnWord(GuestClient& client, std::string_view word,
                            std::vector<UniqueFd>& fds) {
  if (word.empty() || (word.front() != launch::kEnter && word.front() != launch::kSignalEntry))
    return false;
  const char* const end = word.data() + word.size();
  std::uint64_t id = 0;
  auto [rest, parse] = std::from_chars(word.data() + 1, end, id);
  if (parse != std::errc()) return false;
  if (word.front() == launch::kEnter) {
    Enter(client, id, std::move(fds));
    return true;
  }
  int signal = 0;
  if (rest < end && std::from_chars(rest + 1, end, signal).ptr == end)
    client.SignalEntry(id, signal);
  return true;
}

void MachineEntries::Enter(GuestClient& client, std::uint64_t id, std::vector<UniqueFd> fds) {
  constexpr std::size_t kDescriptors = 5;  // as EntryForks::Fork with a relayed terminal
  if (fds.empty()) return;
  auto report = std::make_shared<UniqueFd>(std::move(fds.front()));
  if (fds.size() != kDescriptors) return Report(report->get(), "request", EINVAL);
  auto bytes = ReadAll(fds[1].get(), kMaxRequestBytes);
  auto request = bytes ? launch::DecodeEntryRequest(*bytes) : std::move(bytes).error();
  if (bytes) ::explicit_bzero(bytes->data(), bytes->size());
  if (!request) return Report(report->get(), "request", EINVAL);
  GuestEntryFds streams;
  streams.in = std::move(fds[2]);
  streams.out = std::move(fds[3]);
  (request->terminal ? streams.sizes : streams.err) = std::move(fds[4]);
  GuestEntries::Events events;
  events.on_started = [report] { report->reset(); };
  events.on_failed = [report](const EntryFailed& failed) {
    Report(report->get(), failed.stage, failed.err);
    report->reset();
  };
  events.on_ended = [socket = socket_, id](const ExitStatus& status) {
    const int wait = status.signalled ? status.signal : status.code << 8;
    const std::string text = launch::kEntryEnded + std::to_string(id) + " " + std::to_string(wait);
    (void)SendWithFds(socket, text, {}).has_value();
  };
  Status entered =
      client.Enter(id, std::move(request).value(), std::move(streams), std::move(events));
  if (entered) return;
  const bool over = entered.error().kind == ErrorKind::kConflict;
  Report(report->get(), over ? "the session is over" : entered.error().message,
         over ? ESRCH : EAGAIN);
}

}  // namespace writ::backends::microvm
