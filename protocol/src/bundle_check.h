// BundleCheck: what a verifier decides, apart from how the bundle was read.
//
// The two readers (bundle_scan.cc over the text, bundle_value.cc over a tree) turn each event into
// the same EventFacts and hand over the envelopes as values; everything that makes a bundle good or
// bad is in here.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "writ/protocol/bundle.h"

namespace writ::protocol {

// The events whose members must agree with other parts of the bundle, and which members those are.
struct EventFields {
  std::string_view type;
  std::array<std::string_view, 3> names;  // "" where there are fewer
};
const EventFields* FieldsOf(std::string_view type);  // nullptr for all other types

struct EventFacts {
  std::size_t index = 0;
  std::string_view malformed;  // what is wrong with the event's form; "" where nothing is
  std::uint64_t seq = 0;
  WallTime ts;
  std::string_view ts_text;
  Digest prev, stated, computed;
  std::string_view type;
  // The members that FieldsOf(type) names; nullopt where one is absent or no string.
  std::array<std::optional<std::string_view>, 3> fields;
};

class BundleCheck {
 public:
  explicit BundleCheck(const VerifyOptions& options) : options_(options) {}
  // The text or value is no bundle at all: the only finding.
  void Refuse(std::string code, std::string message);
  // In the order of the array.
  void OnEvent(const EventFacts& event);
  // The rest; nullptr where a member is absent. `unknown`: other members of the root.
  struct Envelopes {
    const json::Value* version = nullptr;
    const json::Value* contract = nullptr;
    const json::Value* receipt = nullptr;
    const json::Value* keys = nullptr;
    bool events_are_array = false;
    std::vector<std::string> unknown;
  };
  VerifyReport Finish(const Envelopes& envelopes);
  VerifyReport TakeRefusal() { return std::move(report_); }

 private:
  using List =
      std::vector<std::string>;  // each entry: the fields, joined by a byte that UTF-8 has not
  void Problem(std::string code, std::string message, std::string pointer = "");
  void Further(std::string code, std::string message, std::string pointer = "");
  void Warn(std::string code, std::string message, std::string pointer = "");
  void Note(std::string code, std::string message, std::string pointer = "");
  void WarnUnknown(const std::vector<std::string>& names, std::string_view where);
  void BreakChain(std::string code, const EventFacts& event, std::string what);
  void CollectFields(const EventFacts& event);

  void CheckKeys(const json::Value* keys);
  void CheckContract(const json::Value& contract);
  void CheckReceipt(const json::Value& contract, const json::Value& receipt);
  void CheckReceiptAgainstEvents(const json::Value& receipt);
  void CheckClaim(const json::Value& contract, const json::Value& receipt);
  void CheckSignature(const json::Value& object, std::string_view where, const Digest& hash,
                      Signer signer, const std::optional<PublicKey>& key, std::string code,
                      std::string message);
  void CheckOrg(const json::Value& contract);
  void CheckKeyManifest(const json::Value& contract);
  // Whether the receipt is one that needs no signature by its runner.
  bool CheckClosedByPlane(const json::Value& receipt);
  void CheckList(const json::Value& receipt, std::string_view path,
                 std::array<std::string_view, 3> names, const List& expected, std::string code,
                 std::string message, bool further);
  void CheckPins();
  void AddNotes(const json::Value& receipt);
  void AddFacts(const json::Value& contract, const json::Value& receipt);

  const VerifyOptions& options_;
  VerifyReport report_;
  std::optional<PublicKey> plane_, runner_, org_;
  Digest contract_hash_;

  // What the events said.
  std::size_t event_count_ = 0;
  bool chain_broken_ = false;
  Digest first_prev_, head_;
  WallTime first_ts_, last_ts_, latest_ts_;
  std::string last_type_;
  std::size_t backwards_ = 0, terminals_ = 0, early_terminal_ = 0, files_changed_ = 0,
              unknown_types_ = 0;
  bool has_network_closed_ = false;
  bool runner_went_on_ = false;  // an event that only a runner writes follows a terminal one
  List secrets_, network_, models_, disclosures_, artifacts_, diffs_;
  std::unordered_set<std::string> network_seen_, models_seen_;
  struct Claim {
    std::size_t index;
    WallTime ts;
    std::string runner_id, runner_key;
  };
  std::vector<Claim> claims_;
  std::vector<std::pair<std::size_t, std::string>> materialized_;
  std::string failure_class_, failure_message_;
};

}  // namespace writ::protocol
