// Requester: the plane as its users see it, near or far.
//
// Near: a plane's directory on this machine, opened directly; works without a running plane and
// beside one. Far: a plane's HTTP API with a principal's token. One interface, so that every
// command works with both.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/plane/plane.h"

namespace writ::cli {

class Requester {
 public:
  virtual ~Requester() = default;

  // `body` without requestedBy, and an absent actor, mean whoever this requester is to the plane:
  // the user here for the local one, the token's principal for a far one.
  virtual Result<plane::Submission> Submit(std::string_view body) = 0;
  virtual Result<plane::RunState> Approve(const std::string& run_id,
                                          const std::optional<plane::Actor>& actor) = 0;
  virtual Result<plane::CancelResult> Cancel(const std::string& run_id,
                                             const std::optional<plane::Actor>& actor) = 0;
  virtual Result<std::vector<plane::RunSummary>> Runs() = 0;
  virtual Result<plane::RunDetail> Run(const std::string& run_id) = 0;
  // Returns once the run has changed after `after`, or when `wait` is over.
  virtual Result<plane::RunDetail> WaitRun(const std::string& run_id, WallTime after,
                                           std::chrono::milliseconds wait) = 0;
  virtual Result<plane::LogChunk> ReadLog(const std::string& run_id, plane::LogStream stream,
                                          std::uint64_t offset, std::chrono::milliseconds wait) = 0;
  virtual Result<std::string> Bundle(const std::string& run_id) = 0;
  // As the plane lists them, of a run at any stage; nullopt where it has no such call.
  virtual Result<std::optional<std::vector<plane::ArtifactInfo>>> Artifacts(
      const std::string& run_id) = 0;
  // What a lost runner sent after the plane had closed its run.
  virtual Result<std::string> LateBundle(const std::string& run_id) = 0;
  virtual Status RevokeRunner(const std::string& runner_id) = 0;
  virtual Status AskRotation(const std::string& runner_id) = 0;
  virtual Status Export(WallTime since,
                        const std::function<Status(std::string_view line)>& write) = 0;
  virtual Result<plane::Plane::PolicyDocument> Policy() = 0;
  virtual Result<std::vector<plane::RunnerInfo>> Runners() = 0;
  virtual Result<plane::IssuedToken> CreateEnrollToken(std::chrono::seconds lifetime,
                                                       std::optional<std::string> pool) = 0;

  virtual Result<bool> HasBlob(const std::string& hash) = 0;
  virtual Status PutBlob(std::string_view bytes, const std::string& expected_hash) = 0;
  // At most `limit` bytes, verified against the hash.
  virtual Result<std::string> GetBlob(const std::string& hash, std::uint64_t limit) = 0;
};

// How a command was told where its plane is.
struct PlaneAddress {
  std::string url;                 // empty: the local directory
  std::string token_file;          // with url
  std::string ca_file;             // with url; empty: the system's
  std::string client_cert_file{};  // with url; PEM, for planes that ask for one
  std::string client_key_file{};
  std::string proxy{};                             // with url; a corporate proxy's; empty: none
  std::chrono::milliseconds call_timeout{60'000};  // with url; for an answer, beside transfers
};

// `local` is borrowed and outlives the requester.
std::unique_ptr<Requester> MakeLocalRequester(plane::Plane& local, std::string who);
// `who` stands for the user where the plane cannot tell whose token it is (one without our
// extensions).
Result<std::unique_ptr<Requester>> MakeRemoteRequester(const PlaneAddress& address, std::string who,
                                                       const Clock& clock);

}  // namespace writ::cli
