#include "entry_table.h"

#include <sys/wait.h>

#include <cerrno>
#include <charconv>

#include "job_namespaces.h"
#include "job_setup.h"

namespace writ::backends::launch {

std::pair<int, std::string> ReadFailureReport(const std::string& text) {
  int err = 0;
  const char* end = text.data() + text.size();
  auto [rest, parse] = std::from_chars(text.data() + 1, end, err);
  if (parse != std::errc() || rest >= end) return {err, "unknown"};
  return {err, std::string(rest + 1, end)};
}

void EntryTable::Enter(std::uint64_t id, std::vector<UniqueFd> fds, int ruleset, int init) {
  auto refuse = [this, id](const char* stage, int err) {
    tell_(EntryFailedMessage{id, stage, err}, {});
  };
  if (plan_.entries == Entries::kRefused) return refuse("not granted", EPERM);
  // Never forked outside of the job's namespaces: that would be another view and another identity.
  if (plan_.namespaces && init < 0) return refuse("the session is over", ESRCH);
  if (entries_.contains(id)) return refuse("request", EEXIST);
  if (entries_.size() >= kMaxEntries) return refuse("too many at once", EAGAIN);
  auto pair = MakeSeqpacketPair();
  if (!pair) return refuse("report", pair.error().sys_errno);
  Entry entry;
  entry.report = std::move(pair->first);
  fds.insert(fds.begin(), std::move(pair->second));
  if (init >= 0) {
    std::vector<int> raw;
    for (const UniqueFd& fd : fds) raw.push_back(fd.get());
    if (Status sent = SendWithFds(init, kEnter + std::to_string(id), raw); !sent)
      return refuse("init", sent.error().sys_errno);
  } else {
    forks_.Fork(id, std::move(fds), ruleset);
  }
  entries_.emplace(id, std::move(entry));
}

void EntryTable::Signal(const SignalEntryMessage& message, int init) {
  if (!entries_.contains(message.id)) return;
  if (!plan_.namespaces) return forks_.Signal(message.id, message.signal);
  const std::string word =
      kSignalEntry + std::to_string(message.id) + " " + std::to_string(message.signal);
  (void)SendWithFds(init, word, {}).has_value();
}

void EntryTable::OnReaped(pid_t pid, int status) {
  if (auto ended = forks_.Reaped(pid, status)) Ended(ended->id, ended->status);
}

void EntryTable::OnInitWord(const std::string& text) {
  std::uint64_t id = 0;
  int status = 0;
  const char* end = text.data() + text.size();
  auto [rest, parse] = std::from_chars(text.data() + 1, end, id);
  if (parse != std::errc() || rest >= end || *rest != ' ' ||
      std::from_chars(rest + 1, end, status).ptr != end)
    return;
  Ended(id, status);
}

// Everything that its report has said by now, and what follows from it. Does not wait.
void EntryTable::ReadReports(std::uint64_t id, Entry& entry) {
  pollfd ready{entry.report.get(), POLLIN, 0};
  while (entry.report && ::poll(&ready, 1, 0) > 0) {
    auto report = ReceiveWithFds(entry.report.get(), 512);
    if (report && !report->bytes.empty()) {
      const char kind = report->bytes.front();
      if (kind == kListenerReport && report->fds.size() == 1) {
        connects_.push_back(supervise_(std::move(report->fds.front())));
      } else if (kind == kTerminalReport && report->fds.size() == 2) {
        entry.master = std::move(report->fds[0]);
        entry.slave = std::move(report->fds[1]);
      } else if (kind == kFailureReport) {
        auto [err, stage] = ReadFailureReport(report->bytes);
        entry.failed = EntryFailedMessage{id, stage, err};
      }
      continue;
    }
    entry.report.reset();
    if (entry.failed) {
      tell_(*entry.failed, {});
      continue;
    }
    std::vector<int> fds;
    if (entry.master) fds = {entry.master.get(), entry.slave.get()};
    tell_(EntryStartedMessage{id}, fds);
    entry.master.reset();
    entry.slave.reset();
  }
}

void EntryTable::Ended(std::uint64_t id, int status) {
  auto at = entries_.find(id);
  if (at == entries_.end()) return;
  ReadReports(id, at->second);  // said before its end
  const bool failed = at->second.failed.has_value();
  entries_.erase(at);
  if (failed) return;
  EntryEndedMessage ended{id};
  ended.signalled = WIFSIGNALED(status) ? 1 : 0;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  ended.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  tell_(ended, {});
}

void EntryTable::AddPollFds(std::vector<pollfd>& fds) const {
  for (const auto& [id, entry] : entries_)
    if (entry.report) fds.push_back({entry.report.get(), POLLIN, 0});
  for (const auto& connects : connects_) connects->AddPollFds(fds);
}

void EntryTable::OnPoll(const pollfd* fds, std::size_t count) {
  for (auto& connects : connects_) connects->OnPoll(fds, count);
  std::vector<std::uint64_t> forked_nowhere;
  for (auto& [id, entry] : entries_) {
    ReadReports(id, entry);
    // Where it was never forked nobody will be reaped.
    if (entry.failed && !entry.report) forked_nowhere.push_back(id);
  }
  for (std::uint64_t id : forked_nowhere) entries_.erase(id);
}

std::uint64_t EntryTable::refused_total() const {
  std::uint64_t sum = 0;
  for (const auto& connects : connects_) sum += connects->refused_total();
  return sum;
}

std::uint64_t EntryTable::proxied_total() const {
  std::uint64_t sum = 0;
  for (const auto& connects : connects_) sum += connects->proxied_total();
  return sum;
}

}  // namespace writ::backends::launch
