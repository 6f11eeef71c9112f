#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>

#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/reader.h"
#include "writ/runner/journal.h"

namespace writ::runner {
namespace {

constexpr std::uint64_t kMaxFile = 1u << 30;
constexpr char kClaim[] = "claim.json";
constexpr char kToken[] = "token";  // a renewed one; the first is in the claim
constexpr char kEvents[] = "events.jsonl";
constexpr char kReceipt[] = "receipt.json";
constexpr char kSession[] = "session.json";
constexpr char kStep[] = "step";

class FileRunJournal final : public RunJournal {
 public:
  FileRunJournal(UniqueFd root, UniqueFd dir, std::string name)
      : root_(std::move(root)), dir_(std::move(dir)), name_(std::move(name)) {}

  Status NoteStep(std::string_view step) override {
    std::lock_guard lock(mutex_);
    return Overwrite(kStep, step);
  }
  Status NoteSession(const std::string& session_name, const std::string& backend) override {
    std::lock_guard lock(mutex_);
    return Overwrite(kSession,
                     json::Write(json::Object{{"session", session_name}, {"backend", backend}}));
  }
  Status NoteEvents(std::span<const protocol::Event> events) override {
    if (events.empty()) return {};
    std::string lines;
    for (const protocol::Event& event : events) lines += json::Write(event.ToJson()) + "\n";
    std::lock_guard lock(mutex_);
    if (!events_.valid()) {
      WRIT_ASSIGN(events_, OpenBeneath(dir_.get(), kEvents, O_WRONLY | O_APPEND | O_CREAT, 0600));
    }
    WRIT_TRY(WriteAll(events_.get(), lines));
    if (fdatasync(events_.get()) != 0)
      return SysError(errno, "journal.write", "could not write the journal");
    return {};
  }
  Status NoteReceipt(const json::Value& signed_receipt) override {
    std::lock_guard lock(mutex_);
    return WriteFileAtomic(dir_.get(), kReceipt, json::Write(signed_receipt), 0600);
  }
  Status NoteToken(const Secret& claim_token) override {
    std::lock_guard lock(mutex_);
    return WriteFileAtomic(dir_.get(), kToken, claim_token.Reveal(), 0600);
  }
  Status Close() override {
    std::lock_guard lock(mutex_);
    events_.reset();
    return RemoveTreeBeneath(root_.get(), name_);
  }

 private:
  // Not synced, and not atomic against a reader: only the next start reads.
  Status Overwrite(const char* name, std::string_view bytes) {
    WRIT_ASSIGN(UniqueFd fd, OpenBeneath(dir_.get(), name, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    return WriteAll(fd.get(), bytes);
  }
  std::mutex mutex_;  // guards the files
  UniqueFd root_, dir_, events_;
  std::string name_;
};

Result<OpenRun> Read(int dir) {
  auto read = [&](const char* name) -> Result<std::optional<std::string>> {
    Result<UniqueFd> fd = OpenBeneath(dir, name, O_RDONLY);
    if (!fd) {
      if (fd.error().sys_errno == ENOENT) return std::optional<std::string>();
      return std::move(fd).error();
    }
    WRIT_ASSIGN(std::string bytes, ReadAll(fd->get(), kMaxFile));
    return std::optional<std::string>(std::move(bytes));
  };
  auto damaged = [](const char* what) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "journal.damaged",
                 .message = std::string("the journal's ") + what + " cannot be read"};
  };
  OpenRun run;
  WRIT_ASSIGN(std::optional<std::string> claim_text, read(kClaim));
  if (!claim_text) return damaged(kClaim);
  WRIT_ASSIGN(json::Value claim, json::Parse(*claim_text));
  json::Issues issues;
  json::ObjectReader reader(issues, claim);
  run.claim.run_id = reader.As<protocol::RunId>("runId");
  run.claim.extended = reader.Bool("extended");
  run.claim.slot = static_cast<unsigned>(reader.Integer("slot", 0, 65535));
  if (const json::Value* contract = reader.Require("contract")) run.claim.contract = *contract;
  std::string first_token = reader.String("claimToken", {.max_bytes = 64 * 1024});
  if (const json::Value* events = reader.Require("events")) {
    // What the plane gave may be nonsense, and the run was refused for it: then our own go on from
    // it.
    if (auto before = protocol::Event::ParseAll(*events)) run.events = std::move(*before);
  }
  WRIT_TRY(issues.ToStatus("journal"));
  WRIT_ASSIGN(std::optional<std::string> token, read(kToken));
  run.claim_token = Secret::Consume(token ? *token : first_token);
  explicit_bzero(claim_text->data(), claim_text->size());
  WRIT_ASSIGN(std::optional<std::string> lines, read(kEvents));
  std::string_view rest = lines ? std::string_view(*lines) : std::string_view();
  while (!rest.empty()) {
    std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;  // a line cut by the crash: it was never sent
    WRIT_ASSIGN(json::Value value, json::Parse(rest.substr(0, end)));
    WRIT_ASSIGN(protocol::Event event, protocol::Event::Parse(value));
    run.events.push_back(std::move(event));
    rest.remove_prefix(end + 1);
  }
  WRIT_ASSIGN(std::optional<std::string> receipt, read(kReceipt));
  if (receipt) {
    WRIT_ASSIGN(run.receipt, json::Parse(*receipt));
  }
  WRIT_ASSIGN(std::optional<std::string> session, read(kSession));
  if (session) {
    WRIT_ASSIGN(json::Value value, json::Parse(*session));
    run.session_name = std::string(value.FindString("session").value_or(""));
    run.backend = std::string(value.FindString("backend").value_or(""));
  }
  WRIT_ASSIGN(std::optional<std::string> step, read(kStep));
  run.step = step.value_or("");
  return run;
}

class FileJournal final : public Journal {
 public:
  explicit FileJournal(UniqueFd root) : root_(std::move(root)) {}

  Result<std::unique_ptr<RunJournal>> Begin(const JournalClaim& claim,
                                            const Secret& claim_token) override {
    const std::string& name = claim.run_id.text();
    // A run id comes twice only when a plane gives the same run again after ours was closed: begin
    // afresh.
    (void)RemoveTreeBeneath(root_.get(), name);
    WRIT_ASSIGN(UniqueFd dir, MakeDirectoriesBeneath(root_.get(), name, 0700));
    json::Object members{
        {"runId", claim.run_id},  {"extended", claim.extended},
        {"slot", claim.slot},     {"contract", claim.contract},
        {"events", claim.events}, {"claimToken", std::string(claim_token.Reveal())}};
    WRIT_TRY(WriteFileAtomic(dir.get(), kClaim, json::Write(std::move(members)), 0600));
    return Hold(std::move(dir), name);
  }

  Result<std::unique_ptr<RunJournal>> Resume(const protocol::RunId& run) override {
    WRIT_ASSIGN(UniqueFd dir, OpenBeneath(root_.get(), run.text(), O_RDONLY | O_DIRECTORY));
    return Hold(std::move(dir), run.text());
  }

  Result<std::vector<OpenRun>> FindOpen() override {
    std::vector<OpenRun> runs;
    std::vector<std::string> names;
    int copy = openat(root_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    std::unique_ptr<DIR, int (*)(DIR*)> listing(copy < 0 ? nullptr : fdopendir(copy), closedir);
    if (!listing) return SysError(errno, "journal.read", "could not list the journal");
    while (dirent* entry = readdir(listing.get())) {
      std::string name = entry->d_name;
      if (protocol::RunId::Parse(name) && !name.ends_with(".damaged"))
        names.push_back(std::move(name));
    }
    for (const std::string& name : names) {
      Result<UniqueFd> dir = OpenBeneath(root_.get(), name, O_RDONLY | O_DIRECTORY);
      Result<OpenRun> run = dir ? Read(dir->get()) : Result<OpenRun>(std::move(dir).error());
      if (run) {
        runs.push_back(std::move(*run));
        continue;
      }
      log::Error("journal.damaged", "a run's journal is damaged and was set aside",
                 {{"run", name}, {"code", run.error().code}});
      (void)RemoveTreeBeneath(root_.get(), name + ".damaged");
      renameat(root_.get(), name.c_str(), root_.get(), (name + ".damaged").c_str());
    }
    return runs;
  }

 private:
  Result<std::unique_ptr<RunJournal>> Hold(UniqueFd dir, const std::string& name) {
    WRIT_ASSIGN(UniqueFd root, root_.Duplicate());
    return std::unique_ptr<RunJournal>(
        std::make_unique<FileRunJournal>(std::move(root), std::move(dir), name));
  }
  UniqueFd root_;
};

}  // namespace

Result<std::unique_ptr<Journal>> OpenFileJournal(const std::string& state_dir) {
  WRIT_ASSIGN(UniqueFd state, MakeDirectories(state_dir, 0711));
  WRIT_ASSIGN(UniqueFd root, MakeDirectoriesBeneath(state.get(), "journal", 0700));
  return std::unique_ptr<Journal>(std::make_unique<FileJournal>(std::move(root)));
}

}  // namespace writ::runner
