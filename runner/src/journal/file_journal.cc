#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <future>
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
constexpr char kSession[] = "session.json";
constexpr char kStep[] = "step";

// Whole or not at all for a kill at any instant, without a sync.
Status Replace(int dir, const std::string& name, std::string_view bytes) {
  const std::string fresh = name + ".new";
  WRIT_ASSIGN(UniqueFd fd, OpenBeneath(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  WRIT_TRY(WriteAll(fd.get(), bytes));
  if (renameat(dir, fresh.c_str(), dir, name.c_str()) != 0)
    return SysError(errno, "journal.write", "could not write the journal");
  return {};
}

Status Sync(int fd) {
  if (fsync(fd) != 0) return SysError(errno, "journal.write", "could not write the journal");
  return {};
}

class FileRunJournal final : public RunJournal {
 public:
  FileRunJournal(UniqueFd root, UniqueFd dir, std::string name)
      : root_(std::move(root)), dir_(std::move(dir)), name_(std::move(name)) {}

  // The claim goes to the disk while the workspace is made; the first events wait for it.
  void SyncClaimBeside() {
    claim_synced_ = std::async(std::launch::async, [this]() -> Status {
      WRIT_ASSIGN(UniqueFd claim, OpenBeneath(dir_.get(), kClaim, O_RDONLY));
      WRIT_TRY(Sync(claim.get()));
      WRIT_TRY(Sync(dir_.get()));
      return Sync(root_.get());
    });
  }

  Status NoteAcknowledged(const json::Value& events) override {
    std::lock_guard lock(mutex_);
    WRIT_ASSIGN(UniqueFd fd, OpenBeneath(dir_.get(), kClaim, O_RDONLY));
    WRIT_ASSIGN(std::string text, ReadAll(fd.get(), kMaxFile));
    WRIT_ASSIGN(json::Value claim, json::Parse(text));
    if (claim.if_object() == nullptr)
      return Error{.kind = ErrorKind::kIntegrity,
                   .code = "journal.damaged",
                   .message = "the journal's claim cannot be read"};
    claim.object().Set("events", events).Set("offered", false);
    return WriteFileAtomic(dir_.get(), kClaim, json::Write(claim), 0600);
  }
  Status NoteStep(std::string_view step) override {
    std::lock_guard lock(mutex_);
    return Replace(dir_.get(), kStep, step);
  }
  Status NoteSession(const std::string& session_name, const std::string& backend) override {
    std::lock_guard lock(mutex_);
    return Replace(dir_.get(), kSession,
                   json::Write(json::Object{{"session", session_name}, {"backend", backend}}));
  }
  Status NoteEvents(std::span<const protocol::Event> events) override {
    std::string lines;
    for (const protocol::Event& event : events) lines += json::Write(event.ToJson()) + "\n";
    std::lock_guard lock(mutex_);
    if (!lines.empty()) WRIT_TRY(Append(lines));
    if (claim_synced_.valid()) WRIT_TRY(claim_synced_.get());
    if (!unsynced_) return {};
    WRIT_TRY(Sync(lines_.get()));
    unsynced_ = false;
    return {};
  }
  // Reaches the disk with the last events, which are noted after it.
  Status NoteReceipt(const json::Value& signed_receipt) override {
    std::lock_guard lock(mutex_);
    return Append(json::Write(json::Object{{"receipt", signed_receipt}}) + "\n");
  }
  Status NoteToken(const Secret& claim_token) override {
    std::lock_guard lock(mutex_);
    return WriteFileAtomic(dir_.get(), kToken, claim_token.Reveal(), 0600);
  }
  Status Close() override {
    std::lock_guard lock(mutex_);
    if (claim_synced_.valid()) (void)claim_synced_.get();
    lines_.reset();
    return RemoveTreeBeneath(root_.get(), name_);
  }

 private:
  Status Append(std::string_view lines) {
    if (!lines_.valid()) {
      WRIT_ASSIGN(lines_, OpenBeneath(dir_.get(), kEvents, O_RDWR | O_CREAT, 0600));
      WRIT_ASSIGN(std::string before, ReadAll(lines_.get(), kMaxFile));
      // A line that a kill cut off was never sent; nothing may be glued to it.
      auto whole = static_cast<off_t>(before.rfind('\n') + 1);
      if (ftruncate(lines_.get(), whole) != 0 || lseek(lines_.get(), whole, SEEK_SET) != whole)
        return SysError(errno, "journal.write", "could not write the journal");
    }
    WRIT_TRY(WriteAll(lines_.get(), lines));
    unsynced_ = true;
    return {};
  }
  std::mutex mutex_;  // guards the files
  UniqueFd root_, dir_, lines_;
  std::string name_;
  bool unsynced_ = false;
  std::future<Status> claim_synced_;  // last: it uses the descriptors
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
  run.claim.offered = reader.OptionalBool("offered").value_or(false);
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
    if (const json::Value* receipt = value.Find("receipt")) {
      run.receipt = *receipt;
    } else {
      WRIT_ASSIGN(protocol::Event event, protocol::Event::Parse(value));
      run.events.push_back(std::move(event));
    }
    rest.remove_prefix(end + 1);
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
        {"runId", claim.run_id},   {"extended", claim.extended},
        {"slot", claim.slot},      {"contract", claim.contract},
        {"events", claim.events},  {"claimToken", std::string(claim_token.Reveal())},
        {"offered", claim.offered}};
    std::string text = json::Write(std::move(members));
    Status written = Replace(dir.get(), kClaim, text);
    explicit_bzero(text.data(), text.size());
    WRIT_TRY(std::move(written));
    WRIT_ASSIGN(auto held, Hold(std::move(dir), name));
    held->SyncClaimBeside();
    if (claim.offered) WRIT_TRY(held->NoteEvents({}));  // waits for the disk
    return std::unique_ptr<RunJournal>(std::move(held));
  }

  Result<std::unique_ptr<RunJournal>> Resume(const protocol::RunId& run) override {
    WRIT_ASSIGN(UniqueFd dir, OpenBeneath(root_.get(), run.text(), O_RDONLY | O_DIRECTORY));
    WRIT_ASSIGN(auto held, Hold(std::move(dir), run.text()));
    return std::unique_ptr<RunJournal>(std::move(held));
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
  Result<std::unique_ptr<FileRunJournal>> Hold(UniqueFd dir, const std::string& name) {
    WRIT_ASSIGN(UniqueFd root, root_.Duplicate());
    return std::make_unique<FileRunJournal>(std::move(root), std::move(dir), name);
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
