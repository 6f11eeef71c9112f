#include "without_journal.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

#include "writ/runner/journal.h"

namespace {
std::atomic<int> flushes{0};
}

// In front of the C library's, so that SQLite's are counted.
extern "C" int fsync(int fd) {
  ++flushes;
  return static_cast<int>(syscall(SYS_fsync, fd));
}
extern "C" int fdatasync(int fd) {
  ++flushes;
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

namespace writ::runner {
namespace {

std::atomic<bench::Notes> chosen{bench::Notes::kJournal};

class NoNotes final : public RunJournal {
 public:
  Status NoteStep(std::string_view, StepPhase) override { return {}; }
  Status NoteSession(const std::string&, const std::string&) override { return {}; }
  Status NotePrepared(const std::string&) override { return {}; }
  Status NoteStarted(const json::Value&) override { return {}; }
  Status NoteLeft() override { return {}; }
  Status NoteOutput(std::uint64_t) override { return {}; }
  Status NoteCollected(std::span<const protocol::Event>, const json::Value&,
                       std::span<const JournalUpload>) override {
    return {};
  }
  Status NoteUploaded(const protocol::Digest&) override { return {}; }
  Status NoteToken(const Secret&) override { return {}; }
  Status NoteReceipt(const json::Value&) override { return {}; }
  Status NoteAcknowledged(const json::Value&) override { return {}; }
  Status NoteEvents(std::span<const protocol::Event>, std::optional<ChainDelivery>) override {
    return {};
  }
  Status Park(const Error&, const std::string&) override { return {}; }
  Status NoteWaiting(const Error&) override { return {}; }
  Status Close() override { return {}; }
};

Error Nothing() {
  return Error{.kind = ErrorKind::kNotFound,
               .code = "journal.unknown_run",
               .message = "there is no journal"};
}

class NoJournal final : public Journal {
 public:
  void UseKeys(BundleKeyTexts) override {}
  Result<std::unique_ptr<RunJournal>> Begin(const JournalClaim&, const Secret&) override {
    return std::unique_ptr<RunJournal>(std::make_unique<NoNotes>());
  }
  Result<std::unique_ptr<RunJournal>> Resume(const protocol::RunId&) override { return Nothing(); }
  Result<std::vector<OpenRun>> FindOpen() override { return std::vector<OpenRun>(); }
  Result<std::vector<protocol::RunId>> Waiting() override { return std::vector<protocol::RunId>(); }
  Result<OpenRun> Read(const protocol::RunId&) override { return Nothing(); }
  Result<std::size_t> CountOpen() override { return std::size_t{0}; }
  Result<std::vector<JobPlace>> Left() override { return std::vector<JobPlace>(); }
  Status ForgetLeft(const protocol::RunId&) override { return {}; }
};

}  // namespace

// The linker leads the engine's OpenJournal here (--wrap), and __real_ to the journal's own.
#define WRIT_OPEN_JOURNAL                                                                    \
  "_ZN4writ6runner11OpenJournalERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKNS_" \
  "5ClockE"
Result<std::unique_ptr<Journal>> RealOpenJournal(
    const std::string& state_dir, const Clock& clock) __asm__("__real_" WRIT_OPEN_JOURNAL);
Result<std::unique_ptr<Journal>> WrappedOpenJournal(
    const std::string& state_dir, const Clock& clock) __asm__("__wrap_" WRIT_OPEN_JOURNAL);

Result<std::unique_ptr<Journal>> WrappedOpenJournal(const std::string& state_dir,
                                                    const Clock& clock) {
  if (chosen == bench::Notes::kJournal) return RealOpenJournal(state_dir, clock);
  return std::unique_ptr<Journal>(std::make_unique<NoJournal>());
}

}  // namespace writ::runner

namespace writ::bench {

void Choose(Notes notes) {
  runner::chosen = notes;
}

int Flushes() {
  return flushes;
}

}  // namespace writ::bench
