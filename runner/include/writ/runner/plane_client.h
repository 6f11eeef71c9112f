// PlaneClient: the calls of protocol.md sections 4 and 6 that a runner makes, with retries inside
// one deadline.
//
// A plane's answer is checked member by member; anything else - HTML, wrong types, huge or endless
// bodies - is one error, plane.nonsense or plane.too_large. A refusal is plane.refused with status
// and the plane's code, never its text (L10). Retried: no answer, 429, 502, 503, 504 and, where the
// call may be repeated, 500; with back-off and jitter, all inside the caller's deadline (L19). An
// optional call that the plane does not know (404) is kUnsupported "plane.no_such_call". Refusals
// that a runner acts on have codes of their own: plane.busy (429, 502, 503, 504: all who ask are to
// come later), plane.unauthorized (401: the token that was shown counts no more), plane.revoked,
// plane.run_ended, plane.offer_expired, plane.forgotten (404 of a run). One thread at a time; make
// one client per thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/event.h"
#include "writ/protocol/key_manifest.h"
#include "writ/protocol/runner_capabilities.h"
#include "writ/runner/deadline.h"
#include "writ/runner/http_client.h"
#include "writ/runner/redactor.h"

namespace writ::runner {

struct PlaneInfo {
  bool extended = false;  // lists "writ.1": our event types and members are welcome
};

struct Enrolled {
  protocol::RunnerId runner_id;
  Secret runner_token;
};

// A claim as it came. The contract is not looked at here: whatever it is, a receipt is owed from
// now on - or, of an offer, from its acknowledgement on.
struct ClaimAnswer {
  protocol::RunId run_id;
  json::Value contract;
  Secret claim_token;
  json::Value events;
  std::vector<NamedSecret> secrets;  // of an offer: none yet
  // Set: an offer, which runs out after this time unless it is acknowledged. Clamped.
  std::optional<std::chrono::milliseconds> offer;
};

enum class ClaimKind { kTaken, kOffered };  // what is asked for: a claim at once, or an offer

struct LeaseTerms {  // as the plane says, clamped to what makes sense
  std::chrono::milliseconds lease{60'000};
  std::chrono::milliseconds renew_after{20'000};
};

struct Acknowledgement {
  json::Value events;  // the whole chain so far
  std::vector<NamedSecret> secrets;
  LeaseTerms terms;
};

// What a plane with our extension says beside "ok".
struct RunSignals {
  bool cancel_requested = false;
  std::optional<protocol::Actor> cancelled_by;
  std::optional<Secret> claim_token;  // a fresh one, where the plane renews it
};

struct LeaseAnswer {
  LeaseTerms terms;
  RunSignals signals;
  // No lease: the plane has closed the run. The fresh token is for the blobs of its late bundle.
  bool closed = false;
};

// Of a run's live output. kOutput is stdout where the contract has stderr captured by itself, else
// both; kProgress is lines of JSON about long transfers.
enum class LiveStream { kOutput, kStderr, kProgress };

enum class BlobSent { kSent, kKnown };  // kKnown: the plane had it
using BlobProgress = std::function<void(std::uint64_t more)>;

class PlaneClient {
 public:
  static Result<PlaneClient> Open(const HttpEndpoint& endpoint, const Clock& clock);

  Result<PlaneInfo> Health(const Deadline& deadline, std::stop_token stop);
  // The keys that the plane signs with (extension). Of no use to whom they are not signed for by a
  // pinned organisation: they show a mistake, not an identity.
  Result<protocol::KeyManifest> SigningKeys(const Deadline& deadline, std::stop_token stop);
  Result<Enrolled> Enroll(const Secret& enroll_token, const std::string& public_key_pem,
                          const std::string& pool, const Deadline& deadline, std::stop_token stop);
  // nullopt: nothing to do. `wait`: long poll, sent to planes with the extension only; the deadline
  // covers it. `only_run`, where not empty, is the one run that is wanted (extension too). One
  // attempt: a claim whose answer is lost is lost, and whoever asks for work asks again anyway.
  // `can`: what the plane is to offer only runs for; nullptr: nothing is sent (extension too).
  Result<std::optional<ClaimAnswer>> Claim(const Secret& runner_token, const std::string& pool,
                                           std::optional<std::chrono::milliseconds> wait,
                                           const Deadline& deadline, std::stop_token stop,
                                           const std::string& only_run = {},
                                           ClaimKind kind = ClaimKind::kTaken,
                                           const protocol::RunnerCapabilities* can = nullptr);
  // A refusal (4xx) after an attempt without answer counts as done: the plane has these events
  // already.
  Result<RunSignals> AppendEvents(const protocol::RunId& run, const Secret& claim_token,
                                  std::span<const protocol::Event> events, const Deadline& deadline,
                                  std::stop_token stop);
  // The receipt with the plane's signature added; also where the plane had it already. nullopt:
  // stored by an attempt whose answer was lost. `runner_token` goes along only towards planes with
  // the extension (nullptr otherwise).
  Result<std::optional<json::Value>> Complete(const protocol::RunId& run, const Secret& claim_token,
                                              const Secret* runner_token,
                                              const json::Value& receipt, const Deadline& deadline,
                                              std::stop_token stop);
  // Into `fd` (truncated at each attempt), verified against the digest (L15: kIntegrity
  // "transfer.blob_hash").
  Result<std::uint64_t> GetBlob(const protocol::Digest& digest, const Secret& claim_token, int fd,
                                std::uint64_t max_bytes, const Deadline& deadline,
                                std::stop_token stop, const BlobProgress& progress = {});
  // The plane's answer must name the digest of the bytes.
  Status PutBlob(std::string_view bytes, const Secret& claim_token, const Deadline& deadline,
                 std::stop_token stop);

  // Calls of planes with the extension.
  // Not sent where the plane has it already; else in pieces, from where an earlier attempt ended.
  // Falls back to PutBlob where the plane lacks the call. `progress` gets bytes that are newly
  // there.
  Result<BlobSent> SendBlob(std::string_view bytes, const protocol::Digest& digest,
                            const Secret& claim_token, const BlobProgress& progress,
                            const Deadline& deadline, std::stop_token stop);
  // kConflict "plane.offer_expired": it is not ours and never was.
  Result<Acknowledgement> Acknowledge(const protocol::RunId& run, const Secret& claim_token,
                                      const Deadline& deadline, std::stop_token stop);
  Status Decline(const protocol::RunId& run, const Secret& claim_token, std::string_view reason,
                 const Deadline& deadline, std::stop_token stop);
  // One attempt: whoever holds the lease has its own rhythm. `wait`: held open by the plane until
  // there is something to say. kNotFound "plane.forgotten" for a 404: a plane that gives leases
  // knows the call. `runner_token`: only where the claim token has run out (nullptr otherwise); the
  // answer has a fresh one then.
  Result<LeaseAnswer> RenewLease(const protocol::RunId& run, const Secret& claim_token,
                                 const Secret* runner_token, std::chrono::milliseconds wait,
                                 const Deadline& deadline, std::stop_token stop);
  // Live output; the answer is where the plane wants more from: past these bytes, or before them
  // where it has a gap.
  Result<std::uint64_t> AppendLog(const protocol::RunId& run, const Secret& claim_token,
                                  LiveStream stream, std::uint64_t offset, std::string_view bytes,
                                  const Deadline& deadline, std::stop_token stop);
  // What was finished after the plane had closed the run. `claim_token` may be null.
  Status Late(const protocol::RunId& run, const Secret* claim_token, const Secret& runner_token,
              const json::Value& events, const json::Value& receipt, const Deadline& deadline,
              std::stop_token stop);
  // Registers another key; `proof` is base64. The answer is the new runner token.
  Result<Secret> Rotate(const Secret& runner_token, const std::string& public_key_pem,
                        const std::string& proof, const Deadline& deadline, std::stop_token stop);
  // The last claim or lease answer asked for rotation.
  bool rotation_asked() const { return rotation_asked_; }

  // Plane's clock minus ours, from the last Date header; whole seconds, hence good to about a
  // second.
  std::optional<std::chrono::milliseconds> clock_offset() const { return clock_offset_; }
  const OriginUrl& origin() const { return http_.origin(); }

 private:
  enum class Repeat { kAlways, kUnlessAnswered, kNever };
  struct Answered {
    HttpResponse response;
    bool after_silence = false;  // an earlier attempt got none, or one that leaves it open
  };
  PlaneClient(HttpClient http, const Clock& clock) : http_(std::move(http)), clock_(&clock) {}
  Result<Answered> Call(const HttpRequest& request, Repeat repeat, const Deadline& deadline,
                        std::stop_token stop);
  Error Refused(const std::string& method, const HttpResponse& response) const;
  Result<json::Value> ReadJson(const std::string& method, const HttpResponse& response) const;
  Error Nonsense(const std::string& method, const HttpResponse& response,
                 const std::string& why) const;
  Result<RunSignals> ReadSignals(const std::string& method, const HttpResponse& response) const;
  void TakeRotation(const json::Value& answer);

  HttpClient http_;
  const Clock* clock_;
  std::optional<std::chrono::milliseconds> clock_offset_;
  bool rotation_asked_ = false;
  bool no_pieces_ = false;  // the plane takes blobs whole only
};

// IMF-fixdate of RFC 9110 section 5.6.7; nullopt for anything else.
std::optional<WallTime> ParseHttpDate(std::string_view text);

}  // namespace writ::runner
