// FakePlane: a small plane for tests of the runner, over plain http on loopback.
//
// It checks strictly what it is given - unknown event types and members, chains that do not extend,
// receipts with unknown members are refused with 400 and noted in violations() - so a runner that
// completes against it speaks the base vocabulary. With Dialect::kExtended its health lists
// "writ.1" and our own vocabulary passes; kLeased also offers runs, keeps leases, takes live output
// and late bundles, and rotates keys (protocol.md section 6). Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/event.h"
#include "writ/protocol/receipt.h"

namespace writ::test {

class FakePlane {
 public:
  enum class Dialect { kBase, kExtended, kLeased };
  struct Answer {
    int status = 200;
    std::string body;
    std::string content_type = "application/json";
  };
  struct Run {
    json::Value contract;
    std::vector<std::pair<std::string, std::string>> secrets;
    std::vector<protocol::Event> events;  // the plane's first, then the runner's
    std::size_t events_of_plane = 0;
    json::Value receipt;  // as posted; null until then
    int completions = 0;
    bool cancel = false;
    // kLeased
    bool offered = false, acknowledged = false, ended = false, forgotten = false;
    int offers = 0, acknowledgements = 0, renewals = 0;
    std::vector<std::string> declined;  // reasons
    std::string claim_token;            // the one that counts; any other is refused
    bool token_ended = false;           // it has run out, and counts no more
    std::string log;                    // live output as it came
    std::string stderr_log;             // where it is a stream of its own
    std::string progress;               // how far transfers were
    json::Value late;                   // body of the late call; null until then
  };
  struct LeaseRules {
    std::int64_t offer_ms = 10'000, lease_ms = 60'000, renew_after_ms = 100;
    bool fresh_tokens = false;  // with every renewal
    bool ask_rotation = false;
    int lose_rotations = 0;  // done, and answered with a 500
  };

  FakePlane(const Clock& clock, Dialect dialect);
  ~FakePlane();

  std::string url() const;
  const protocol::PrivateKey& key() const { return key_; }
  protocol::PublicKey runner_key() const;  // as enrolled last

  // A contract that validates, over the recorded workspace; change it, then Add.
  protocol::Contract Draft(const std::string& run_id) const;
  // The same, whose job is the shell's "true", without a proxy.
  protocol::Contract DraftOfTrue(const std::string& run_id) const;
  // Seals and queues it. Secrets: values by name; each gets its grant's secret.released.
  void Add(protocol::Contract draft, std::vector<std::pair<std::string, std::string>> secrets = {});
  // The same under a key that is not the plane's.
  void AddSealed(protocol::Contract draft, const protocol::PrivateKey& key,
                 std::vector<std::pair<std::string, std::string>> secrets = {});
  // Queues a claim answer as it is, byte for byte.
  void AddRaw(const std::string& run_id, std::string body,
              std::vector<protocol::Event> events_of_plane);
  void AddBlob(const std::string& bytes);
  bool HasBlob(const std::string& hex) const;
  std::string Blob(const std::string& hex) const;

  Run Get(const std::string& run_id) const;
  void RequestCancel(const std::string& run_id);
  void SetLease(LeaseRules rules);
  void Revoke();                                              // the one runner
  void EndToken(const std::string& run_id);                   // its time is over
  void CloseRun(const std::string& run_id);                   // as a plane whose lease has run out
  void ForgetRun(const std::string& run_id);                  // as one restored from an old backup
  std::string runner_token() const;                           // the one that counts
  void CutLog(const std::string& run_id, std::size_t bytes);  // keeps so many
  void WithholdSecrets();  // released in the chain, and their values do not come
  std::vector<std::string> violations() const;
  int refused_tokens() const;               // calls with a claim token that does not count
  std::vector<std::int64_t> waits() const;  // waitMs of every claim that had it
  json::Value capabilities() const;         // as the runner sent them last; null: it has sent none
  // "POST /v1/claims" -> how often it was called.
  int Calls(const std::string& method_and_path) const;
  // Asked first for every request; an answer replaces the plane's own. May block.
  void SetFault(
      std::function<std::optional<Answer>(const std::string& method, const std::string& path)>
          fault);
  // The whole bundle of a finished run.
  json::Value Bundle(const std::string& run_id) const;

  static void LoadRecordedBlobs(FakePlane& plane);

 private:
  struct Server;
  struct State;
  struct Call {
    std::string method, path, body, authorization, offset, stream;
  };
  Answer Handle(const Call& call);
  Answer Claim(const json::Value& body);
  enum class Chain { kToOffer, kToClaim, kRest };
  void WriteChain(Run& run, Chain part);
  // fake_plane_lease.cc
  bool InForce(const Run& run, std::optional<std::string_view> claim_token) const;
  bool BearsOneInForce(const Call& call) const;
  Answer RefuseToken();
  std::optional<Answer> HandleLease(const Call& call, std::unique_lock<std::mutex>& lock);
  Answer Offer(const std::string& run_id, Run& run);
  Answer Acknowledge(Run& run);
  Answer Lease(const std::string& run_id, const json::Value& body,
               std::unique_lock<std::mutex>& lock);
  Answer AppendLog(Run& run, const Call& call);
  Answer Rotate(const json::Value& body);
  Answer Append(const std::string& run_id, const json::Value& body);
  Answer Complete(const std::string& run_id, const json::Value& body);
  void Violation(std::string what);
  const Clock& clock_;
  Dialect dialect_;
  protocol::PrivateKey key_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Server> server_;
};

// What the base vocabulary allows; the first thing wrong, or nullopt.
std::optional<std::string> StrictEventProblem(const json::Value& event);
std::optional<std::string> StrictReceiptProblem(const json::Value& receipt);

}  // namespace writ::test
