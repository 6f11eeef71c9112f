// ScriptedRequester: a plane with one run, whose calls fail when a test says so.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "requester.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/events.h"

namespace writ::test {

// The run is in work until what its live streams have was read, and has ended then. One thread.
class ScriptedRequester final : public cli::Requester {
 public:
  std::string live, live_err;  // what the plane got while the job ran
  std::string log, log_err;    // what the receipt's logs have; empty: no such log
  bool stderr_apart = false;
  bool shows_contract = true;  // a far plane does not
  bool shows_receipt = true;   // a far plane does not; its bundle has it
  plane::RunState end = plane::RunState::kCompleted;
  std::string receipt = R"({"runner":{"environment":{"log":{"leftOutBytes":0}}}})";
  std::size_t piece = 7;  // bytes a call; odd on purpose
  bool keeps_blobs = true;
  // Asked before every call ("run", "log", "cancel", "blob") with how often it was made before.
  std::function<std::optional<Error>(const std::string& call, int nth)> fault;
  std::map<std::string, int> calls;
  bool cancelled = false;

  Result<plane::RunDetail> Run(const std::string&) override { return Detail(); }
  Result<plane::RunDetail> WaitRun(const std::string&, WallTime,
                                   std::chrono::milliseconds) override {
    return Detail();
  }
  Result<plane::LogChunk> ReadLog(const std::string&, plane::LogStream stream, std::uint64_t offset,
                                  std::chrono::milliseconds) override {
    if (stream == plane::LogStream::kProgress) return plane::LogChunk{};
    if (auto error = Fault("log")) return *error;
    const bool err = stream == plane::LogStream::kStderr;
    const std::string& all = err ? live_err : live;
    plane::LogChunk chunk;
    chunk.offset = offset;
    chunk.bytes = all.substr(std::min<std::size_t>(offset, all.size()), piece);
    std::size_t& read = err ? read_err_ : read_;
    read = std::max<std::size_t>(read, offset + chunk.bytes.size());
    return chunk;
  }
  Result<plane::CancelResult> Cancel(const std::string&,
                                     const std::optional<plane::Actor>&) override {
    if (auto error = Fault("cancel")) return *error;
    cancelled = true;
    return plane::CancelResult{plane::RunState::kRunning, true};
  }
  Result<std::string> GetBlob(const std::string& hash, std::uint64_t) override {
    if (auto error = Fault("blob")) return *error;
    for (const std::string* bytes : {&log, &log_err})
      if (keeps_blobs && protocol::Sha256(*bytes).ToHex() == hash) return *bytes;
    return Error{ErrorKind::kNotFound, "blob.not_found", "no such blob", ""};
  }

  Result<plane::Submission> Submit(std::string_view) override { return No(); }
  Result<plane::RunState> Approve(const std::string&, const std::optional<plane::Actor>&) override {
    return No();
  }
  Result<std::vector<plane::RunSummary>> Runs() override { return No(); }
  Result<std::string> Bundle(const std::string&) override {
    if (auto error = Fault("bundle")) return *error;
    return R"({"receipt":)" + receipt + "}";
  }
  Result<std::optional<std::vector<plane::ArtifactInfo>>> Artifacts(const std::string&) override {
    return No();
  }
  Result<std::string> LateBundle(const std::string&) override { return No(); }
  Status RevokeRunner(const std::string&) override { return No(); }
  Status AskRotation(const std::string&) override { return No(); }
  Status Export(WallTime, const std::function<Status(std::string_view)>&) override { return No(); }
  Result<plane::Plane::PolicyDocument> Policy() override { return No(); }
  Result<std::vector<plane::RunnerInfo>> Runners() override { return No(); }
  Result<plane::IssuedToken> CreateEnrollToken(std::chrono::seconds,
                                               std::optional<std::string>) override {
    return No();
  }
  Result<bool> HasBlob(const std::string&) override { return No(); }
  Status PutBlob(std::string_view, const std::string&) override { return No(); }

 private:
  static Error No() { return Error{ErrorKind::kUnsupported, "test.unused", "not asked for", ""}; }
  std::optional<Error> Fault(const std::string& call) {
    const int nth = calls[call]++;
    return fault ? fault(call, nth) : std::nullopt;
  }
  Result<plane::RunDetail> Detail() {
    if (auto error = Fault("run")) return *error;
    plane::RunDetail detail;
    detail.summary.run_id = "run_1";
    const bool ended = cancelled || (read_ >= live.size() && read_err_ >= live_err.size());
    detail.summary.status = cancelled ? plane::RunState::kCancelled
                            : ended   ? end
                                      : plane::RunState::kRunning;
    if (shows_contract)
      detail.contract = stderr_apart ? R"({"execution":{"log":{"stderr":"capture"}}})" : "{}";
    if (!ended) return detail;
    if (end == plane::RunState::kFailed) detail.summary.failure = "session_failed: it broke";
    if (shows_receipt) detail.receipt = receipt;
    for (const std::string* bytes : {&log, &log_err}) {
      if (bytes->empty()) continue;
      const protocol::Digest hash = protocol::Sha256(*bytes);
      for (json::Value event :
           {protocol::events::ArtifactCreated(protocol::ArtifactKind::kLog, hash),
            protocol::events::BoundaryCrossed(protocol::Direction::kOut, hash,
                                              protocol::kDataClassSessionLog)})
        detail.events.push_back(json::Write(json::Object{{"event", std::move(event)}}));
    }
    return detail;
  }
  std::size_t read_ = 0, read_err_ = 0;
};

}  // namespace writ::test
