#include <unistd.h>

#include "requester.h"
#include "writ/base/file.h"
#include "writ/protocol/digest.h"

namespace writ::cli {
namespace {

// Who owns the plane's directory can correct its policy: to them it is input that is not usable,
// and not a plane that is out of reach.
template <typename T>
Result<T> OfOwnPolicy(Result<T> result) {
  if (result || result.error().code != "policy.refused") return result;
  Error error = std::move(result).error();
  error.kind = ErrorKind::kInvalid;
  return error;
}

class LocalRequester final : public Requester {
 public:
  LocalRequester(plane::Plane& local, std::string who)
      : plane_(local), caller_(plane::Caller::Local(std::move(who))) {}

  Result<plane::Submission> Submit(std::string_view body) override {
    return OfOwnPolicy(plane_.Submit(caller_, body));
  }
  Result<plane::RunState> Approve(const std::string& run_id,
                                  const std::optional<plane::Actor>& actor) override {
    return OfOwnPolicy(plane_.Approve(caller_, run_id, actor));
  }
  Result<plane::CancelResult> Cancel(const std::string& run_id,
                                     const std::optional<plane::Actor>& actor) override {
    return plane_.Cancel(caller_, run_id, actor);
  }
  Result<std::vector<plane::RunSummary>> Runs() override { return plane_.Runs(); }
  Result<plane::RunDetail> Run(const std::string& run_id) override { return plane_.Run(run_id); }
  Result<plane::RunDetail> WaitRun(const std::string& run_id, WallTime after,
                                   std::chrono::milliseconds wait) override {
    return plane_.WaitRun(run_id, after, wait);
  }
  Result<plane::LogChunk> ReadLog(const std::string& run_id, plane::LogStream stream,
                                  std::uint64_t offset, std::chrono::milliseconds wait) override {
    return plane_.ReadLog(run_id, stream, offset, wait);
  }
  Result<std::string> Bundle(const std::string& run_id) override { return plane_.Bundle(run_id); }
  Result<std::optional<std::vector<plane::ArtifactInfo>>> Artifacts(
      const std::string& run_id) override {
    WRIT_ASSIGN(std::vector<plane::ArtifactInfo> list, plane_.Artifacts(run_id));
    return std::optional(std::move(list));
  }
  Result<std::string> LateBundle(const std::string& run_id) override {
    return plane_.LateBundle(run_id);
  }
  Status RevokeRunner(const std::string& runner_id) override {
    return plane_.RevokeRunner(caller_, runner_id);
  }
  Status AskRotation(const std::string& runner_id) override {
    return plane_.AskRotation(caller_, runner_id);
  }
  Status Export(WallTime since,
                const std::function<Status(std::string_view line)>& write) override {
    return plane_.Export(since, write);
  }
  Result<plane::Plane::PolicyDocument> Policy() override { return OfOwnPolicy(plane_.Policy()); }
  Result<std::vector<plane::RunnerInfo>> Runners() override { return plane_.Runners(); }
  Result<plane::IssuedToken> CreateEnrollToken(std::chrono::seconds lifetime,
                                               std::optional<std::string> pool) override {
    return plane_.CreateEnrollToken(caller_, lifetime, std::move(pool));
  }

  Result<bool> HasBlob(const std::string& hash) override {
    auto blob = plane_.OpenBlob(hash);
    if (blob) return true;
    if (blob.error().kind == ErrorKind::kNotFound) return false;
    return std::move(blob).error();
  }
  Status PutBlob(std::string_view bytes, const std::string& expected_hash) override {
    WRIT_ASSIGN(std::unique_ptr<plane::Plane::BlobWriter> writer, plane_.NewBlob());
    WRIT_TRY(writer->Append(bytes));
    auto hash = writer->Finish(expected_hash);
    return hash ? Status() : Status(std::move(hash).error());
  }
  Result<std::string> GetBlob(const std::string& hash, std::uint64_t limit) override {
    WRIT_ASSIGN(plane::Plane::Blob blob, plane_.OpenBlob(hash));
    WRIT_ASSIGN(std::string bytes, ReadAll(blob.fd.get(), limit));
    if (protocol::Sha256(bytes).ToHex() != hash) {
      plane_.QuarantineBlob(hash);
      return Error{ErrorKind::kIntegrity, "blob.damaged",
                   "the blob " + hash + " is not what its name says",
                   "it was put aside; upload it again"};
    }
    return bytes;
  }

 private:
  plane::Plane& plane_;
  plane::Caller caller_;
};

}  // namespace

std::unique_ptr<Requester> MakeLocalRequester(plane::Plane& local, std::string who) {
  return std::make_unique<LocalRequester>(local, std::move(who));
}

}  // namespace writ::cli
