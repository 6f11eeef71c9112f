#include "bundle_check.h"

#include <algorithm>

#include "exact_time.h"
#include "writ/protocol/events.h"
#include "writ/protocol/key_manifest.h"

namespace writ::protocol {
namespace {

constexpr char kJoin =
    '\xFF';  // never a byte of UTF-8, so joined fields cannot be mistaken for others
constexpr std::string_view kAbsent = "\xFE";

constexpr EventFields kFields[] = {
    {events::kRunClaimed, {"runnerId", "runnerKeyId", ""}},
    {events::kWorkspaceMaterialized, {"manifestHash", "", ""}},
    {events::kSecretReleased, {"name", "scope", ""}},
    {events::kNetworkConnected, {"host", "decision", ""}},
    {events::kModelCalled, {"provider", "model", ""}},
    {events::kBoundaryCrossed, {"direction", "contentHash", "dataClass"}},
    {events::kArtifactCreated, {"hash", "kind", ""}},
    {events::kRunFailed, {"failure", "message", ""}},
};

std::string Field(const EventFacts& event, std::size_t i) {
  return std::string(event.fields[i].value_or(kAbsent));
}

std::string Join(const EventFacts& event, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) out.push_back(kJoin);
    out.append(event.fields[i].value_or(kAbsent));
  }
  return out;
}

const json::Value* At(const json::Value& value, std::string_view outer, std::string_view inner) {
  const json::Value* child = value.Find(outer);
  return child != nullptr ? child->Find(inner) : nullptr;
}

bool IsText(const json::Value* value, std::string_view text) {
  const std::string* own = value != nullptr ? value->if_string() : nullptr;
  return own != nullptr && *own == text;
}

// Both are there and equal texts.
bool SameText(const json::Value* a, const json::Value* b) {
  return b != nullptr && b->is_string() && IsText(a, b->string());
}

std::vector<Signature> SignaturesOf(const json::Value& object) {
  json::Issues ignored;
  json::ObjectReader reader(ignored, object);
  return ReadSignatures(reader);
}

}  // namespace

const EventFields* FieldsOf(std::string_view type) {
  for (const EventFields& fields : kFields)
    if (fields.type == type) return &fields;
  return nullptr;
}

void BundleCheck::Problem(std::string code, std::string message, std::string pointer) {
  report_.problems.push_back({std::move(code), std::move(message), std::move(pointer), false});
}
void BundleCheck::Further(std::string code, std::string message, std::string pointer) {
  report_.problems.push_back({std::move(code), std::move(message), std::move(pointer), true});
}
void BundleCheck::Warn(std::string code, std::string message, std::string pointer) {
  report_.warnings.push_back({std::move(code), std::move(message), std::move(pointer), true});
}
void BundleCheck::Note(std::string code, std::string message, std::string pointer) {
  report_.notes.push_back({std::move(code), std::move(message), std::move(pointer), true});
}

void BundleCheck::Refuse(std::string code, std::string message) {
  report_ = VerifyReport();
  Problem(std::move(code), std::move(message));
}

void BundleCheck::BreakChain(std::string code, const EventFacts& event, std::string what) {
  if (chain_broken_) return;  // what follows a break says nothing more
  chain_broken_ = true;
  Problem(std::move(code),
          "the event chain is broken at position " + std::to_string(event.index) + ": " + what,
          json::PointerTo("/events", event.index));
}

void BundleCheck::OnEvent(const EventFacts& event) {
  ++event_count_;
  if (!event.malformed.empty()) {
    BreakChain("event.malformed", event, "the event " + std::string(event.malformed));
  } else if (event.seq != event.index) {
    BreakChain("chain.sequence_gap", event,
               "its sequence number is not " + std::to_string(event.index));
  } else if (event.index > 0 && event.prev != head_) {
    BreakChain("chain.prev_mismatch", event, "it does not name the hash of the event before it");
  } else if (event.stated != event.computed) {
    BreakChain("chain.hash_mismatch", event, "it does not have the hash that it states");
  }
  if (event.index == 0) {
    first_prev_ = event.prev;
    first_ts_ = latest_ts_ = event.ts;
  } else if (event.malformed.empty() && event.ts < latest_ts_) {
    if (backwards_++ == 0) {
      Warn("chain.time_backwards", "the time of an event is before that of an earlier one",
           json::PointerTo("/events", event.index));
    }
  }
  latest_ts_ = std::max(latest_ts_, event.ts);
  last_ts_ = event.ts;
  head_ = event.stated;
  if (terminals_ > 0 && early_terminal_ == 0) early_terminal_ = event.index;
  if (terminals_ > 0 && event.type != events::kRunRequeued && event.type != events::kRunFailed)
    runner_went_on_ = true;
  if (events::IsTerminalType(event.type)) ++terminals_;
  last_type_ = event.type;
  if (event.type == events::kFileChanged) ++files_changed_;
  if (event.type == events::kNetworkClosed) has_network_closed_ = true;
  CollectFields(event);
}

void BundleCheck::CollectFields(const EventFacts& event) {
  const std::string_view type = event.type;
  if (type == events::kSecretReleased) {
    secrets_.push_back(Join(event, 2) + kJoin + std::string(event.ts_text));
  } else if (type == events::kNetworkConnected) {
    std::string entry = Join(event, 2);
    if (network_seen_.insert(entry).second) network_.push_back(std::move(entry));
  } else if (type == events::kModelCalled) {
    std::string entry = Join(event, 2);
    if (models_seen_.insert(entry).second) models_.push_back(std::move(entry));
  } else if (type == events::kBoundaryCrossed) {
    disclosures_.push_back(Join(event, 3));
  } else if (type == events::kArtifactCreated) {
    artifacts_.push_back(Field(event, 0));
    if (event.fields[1] == Word(ArtifactKind::kDiff)) diffs_.push_back(artifacts_.back());
  } else if (type == events::kRunClaimed) {
    claims_.push_back({event.index, event.ts, Field(event, 0), Field(event, 1)});
  } else if (type == events::kWorkspaceMaterialized) {
    materialized_.emplace_back(event.index, Field(event, 0));
  } else if (type == events::kRunFailed) {
    failure_class_ = event.fields[0].value_or("");
    failure_message_ = event.fields[1].value_or("");
  }
}

// A hostile bundle has millions of them: the first few are named, the rest counted.
void BundleCheck::WarnUnknown(const std::vector<std::string>& names, std::string_view where) {
  constexpr std::size_t kNamed = 20;
  for (std::size_t i = 0; i < names.size() && i < kNamed; ++i)
    Warn("bundle.unknown_member", "no signature covers this member",
         json::PointerTo(where, names[i]));
  if (names.size() > kNamed)
    Warn("bundle.unknown_member",
         "no signature covers " + std::to_string(names.size() - kNamed) + " more members",
         std::string(where));
}

void BundleCheck::CheckKeys(const json::Value* keys) {
  const auto read = [&](std::string_view name, bool required) -> std::optional<PublicKey> {
    const json::Value* pem = keys != nullptr ? keys->Find(name) : nullptr;
    const std::string pointer = "/keys/" + std::string(name);
    if (pem == nullptr) {
      if (required)
        Problem("keys.missing", "a public key that every bundle carries is not there", pointer);
      return std::nullopt;
    }
    if (pem->is_string()) {
      Result<PublicKey> key = PublicKey::FromPem(pem->string());
      if (key) return *key;
    }
    Problem("keys.malformed", "not an Ed25519 public key in PEM", pointer);
    return std::nullopt;
  };
  plane_ = read("planePublicKeyPem", true);
  runner_ = read("runnerPublicKeyPem", true);
  org_ = read("orgPublicKeyPem", false);
  if (keys != nullptr && keys->is_object()) {
    std::vector<std::string> unknown;
    for (const json::Member& member : keys->object()) {
      if (member.name != "planePublicKeyPem" && member.name != "runnerPublicKeyPem" &&
          member.name != "orgPublicKeyPem")
        unknown.push_back(member.name);
    }
    WarnUnknown(unknown, "/keys");
  }
  if (plane_ && runner_ && *plane_ == *runner_) {
    Warn("keys.same", "plane and runner have the same key: the countersignature adds nothing",
         "/keys");
  }
  CheckPins();
}

void BundleCheck::CheckPins() {
  const auto pin = [&](const std::optional<PublicKey>& pinned, const std::optional<PublicKey>& own,
                       std::string_view who) {
    if (pinned && (!own || *pinned != *own)) {
      Further("pin." + std::string(who) + "_key",
              "the bundle's " + std::string(who) + " key is not the pinned one (" +
                  pinned->Id().text() + ")",
              "/keys/" + std::string(who) + "PublicKeyPem");
    }
  };
  pin(options_.plane_key, plane_, "plane");
  pin(options_.runner_key, runner_, "runner");
  if (options_.org_key) {
    // A bundle may leave the organisation's key out; the pinned one is used then.
    if (org_)
      pin(options_.org_key, org_, "org");
    else
      org_ = options_.org_key;
  }
  report_.plane_pinned = options_.plane_key.has_value() || options_.key_manifest != nullptr;
  report_.runner_pinned = options_.runner_key.has_value();
  report_.pinned = report_.plane_pinned && report_.runner_pinned;
  if (!report_.pinned && options_.require_pinned) {
    Further("pin.required",
            "pinned keys were asked for, and not both plane and runner key were given");
  }
}

void BundleCheck::CheckSignature(const json::Value& object, std::string_view where,
                                 const Digest& hash, Signer signer,
                                 const std::optional<PublicKey>& key, std::string code,
                                 std::string message) {
  if (!key || FindValidSignature(SignaturesOf(object), signer, *key, hash) == nullptr) {
    Problem(std::move(code), std::move(message), std::string(where) + "/signatures");
  }
}

void BundleCheck::CheckOrg(const json::Value& contract) {
  const std::vector<Signature> signatures = SignaturesOf(contract);
  const bool signed_by_org =
      std::any_of(signatures.begin(), signatures.end(),
                  [](const Signature& s) { return s.signer == Signer::kOrg; });
  if (signed_by_org) {
    if (!org_) {
      Warn("contract.org_signature_unchecked",
           "the contract is signed by an organisation whose key is not at hand",
           "/contract/signatures");
    } else if (FindValidSignature(signatures, Signer::kOrg, *org_, contract_hash_) == nullptr) {
      Further("contract.org_signature", "the organisation's signature on the contract is not valid",
              "/contract/signatures");
    }
  } else if (options_.org_key) {
    Further("contract.org_signature",
            "an organisation's key was pinned, and the contract is not signed by it",
            "/contract/signatures");
  }
}

void BundleCheck::CheckKeyManifest(const json::Value& contract) {
  if (options_.key_manifest == nullptr) return;
  const json::Value* issued = contract.Find("issuedAt");
  const std::optional<WallTime> at =
      issued != nullptr && issued->is_string() ? ExactTime(issued->string()) : std::nullopt;
  if (plane_ && at && options_.key_manifest->Holds(*plane_, *at)) return;
  Further("pin.plane_key",
          "the key manifest does not list the bundle's plane key for the time of the contract",
          "/keys/planePublicKeyPem");
}

// The plane may close a run whose runner was lost, and then it signs alone: so only as a failure,
// only after its own closing event, and only where no runner put its name to it (L46).
bool BundleCheck::CheckClosedByPlane(const json::Value& receipt) {
  if (receipt.Find("closedBy") == nullptr) return false;
  const std::vector<Signature> signatures = SignaturesOf(receipt);
  const bool by_runner = std::any_of(signatures.begin(), signatures.end(), [](const Signature& s) {
    return s.signer == Signer::kRunner;
  });
  const bool by_plane = plane_ && FindValidSignature(signatures, Signer::kPlane, *plane_,
                                                     HashWithout(receipt, "signatures")) != nullptr;
  const bool as_failure = IsText(receipt.Find("status"), Word(RunStatus::kFailed)) &&
                          last_type_ == events::kRunFailed &&
                          failure_class_ == Word(FailureClass::kSessionFailed);
  if (Receipt::Parse(receipt) && by_plane && !by_runner && as_failure) {
    report_.closed_by_plane = true;
    return true;
  }
  Problem("receipt.closed_by",
          by_runner     ? "a runner signed a receipt that says the plane closed the run"
          : !as_failure ? "a run that the plane closed ends as failed, by session_failed"
          : !by_plane   ? "the plane did not sign the receipt that says it closed the run"
                        : "it does not say who closed the run, why and when it was last seen",
          "/receipt/closedBy");
  return false;
}

void BundleCheck::CheckContract(const json::Value& contract) {
  contract_hash_ = HashWithout(contract, "signatures");
  if (Result<Contract> parsed = Contract::Parse(contract); !parsed) {
    Problem("contract.malformed", parsed.error().message, "/contract");
  }
  CheckSignature(contract, "/contract", contract_hash_, Signer::kPlane, plane_,
                 "contract.signature", "the contract has no valid signature by the plane's key");
  if (plane_ && !IsText(At(contract, "issuer", "keyId"), plane_->Id().text())) {
    Further("contract.issuer", "the contract names another key as its issuer than the plane's",
            "/contract/issuer/keyId");
  }
  CheckOrg(contract);
  CheckKeyManifest(contract);
}

void BundleCheck::CheckReceipt(const json::Value& contract, const json::Value& receipt) {
  if (Result<Receipt> parsed = Receipt::Parse(receipt); !parsed) {
    Problem("receipt.malformed", parsed.error().message, "/receipt");
    if (!receipt.is_object()) return;
  }
  const Digest hash = HashWithout(receipt, "signatures");
  if (!SameText(receipt.Find("runId"), contract.Find("runId"))) {
    Problem("receipt.run_id", "the receipt is for another run than the contract", "/receipt/runId");
  }
  if (!IsText(receipt.Find("contractHash"), contract_hash_.ToHex())) {
    Problem("receipt.contract_hash", "the receipt does not name the hash of this contract",
            "/receipt/contractHash");
  }
  if (!runner_ || !IsText(At(receipt, "runner", "keyId"), runner_->Id().text())) {
    Problem("receipt.runner_key", "the receipt names another key than the runner's",
            "/receipt/runner/keyId");
  }
  if (!SameText(At(receipt, "runner", "pool"), At(contract, "runner", "pool"))) {
    Problem("receipt.pool", "the receipt's pool is not the contract's", "/receipt/runner/pool");
  }
  if (!CheckClosedByPlane(receipt)) {
    CheckSignature(receipt, "/receipt", hash, Signer::kRunner, runner_, "receipt.runner_signature",
                   "the receipt has no valid signature by the runner's key");
  }
  CheckSignature(receipt, "/receipt", hash, Signer::kPlane, plane_, "receipt.plane_signature",
                 "the receipt has no valid countersignature by the plane's key");
  if (!SameText(At(receipt, "workspaceIn", "baseRef"), At(contract, "workspace", "baseRef"))) {
    Problem("receipt.base_ref", "the receipt's base commit is not the contract's",
            "/receipt/workspaceIn/baseRef");
  }
  const json::Value* workspace = contract.Find("workspace");
  if (workspace == nullptr ||
      !IsText(At(receipt, "workspaceIn", "manifestHash"), HashValue(*workspace).ToHex())) {
    Problem("receipt.manifest_hash",
            "the receipt does not name the hash of the contract's workspace",
            "/receipt/workspaceIn/manifestHash");
  }
  CheckReceiptAgainstEvents(receipt);
  CheckClaim(contract, receipt);
}

void BundleCheck::CheckReceiptAgainstEvents(const json::Value& receipt) {
  if (event_count_ == 0) {
    Problem("chain.empty", "there are no events", "/events");
  } else {
    if (!chain_broken_ && first_prev_ != contract_hash_) {
      chain_broken_ = true;
      Problem("chain.genesis_mismatch",
              "the event chain is broken at position 0: it does not begin at this contract",
              "/events/0");
    }
    if (!IsText(receipt.Find("startedAt"), FormatRfc3339(first_ts_))) {
      Further("receipt.started_at", "the receipt's start is not the time of the first event",
              "/receipt/startedAt");
    }
    const json::Value* ended = receipt.Find("endedAt");
    const std::optional<WallTime> end =
        ended != nullptr && ended->is_string() ? ExactTime(ended->string()) : std::nullopt;
    if (end && *end < latest_ts_)
      Warn("receipt.ended_at", "the receipt's end is before its last event", "/receipt/endedAt");
  }
  if (!IsText(receipt.Find("eventsHead"), head_.ToHex()) || event_count_ == 0) {
    Problem("receipt.events_head", "the receipt does not name the hash of the last event",
            "/receipt/eventsHead");
  }
  const json::Value* count = receipt.Find("eventCount");
  if (count == nullptr || count->AsInteger() != static_cast<std::int64_t>(event_count_)) {
    Problem("receipt.event_count", "the receipt counts another number of events",
            "/receipt/eventCount");
  }
  const std::string_view status = receipt.FindString("status").value_or("");
  if (!events::IsTerminalType(last_type_) || last_type_.substr(4) != status) {
    Problem("receipt.status", "the last event is not the end that the receipt states",
            "/receipt/status");
  }
  // A lost runner may have written its end already: the plane's closing events may follow it.
  const bool closing_only =
      report_.closed_by_plane && !runner_went_on_ && event_count_ - early_terminal_ <= 2;
  if (early_terminal_ != 0 && !closing_only) {
    Further("chain.after_end", "there are events after the one that ends the run",
            json::PointerTo("/events", early_terminal_));
  }
  CheckList(receipt, "/secretsReleased", {"name", "scope", "ts"}, secrets_,
            "receipt.secrets_released",
            "the receipt's released secrets are not those of the events", false);
  CheckList(receipt, "/networkAccessed", {"host", "decision", ""}, network_,
            "receipt.network_accessed", "the receipt's hosts are not those of the events", true);
  CheckList(receipt, "/modelsUsed", {"provider", "model", ""}, models_, "receipt.models_used",
            "the receipt's models are not those of the events", true);
  CheckList(receipt, "/boundaryDisclosures", {"direction", "contentHash", "dataClass"},
            disclosures_, "receipt.boundary_disclosures",
            "the receipt's disclosures are not those of the events", true);
  CheckList(receipt, "/workspaceOut/artifactHashes", {"", "", ""}, artifacts_,
            "receipt.artifact_hashes", "the receipt's artifacts are not those of the events", true);
  const json::Value* diff = At(receipt, "workspaceOut", "diffHash");
  if (diff != nullptr && *diff != json::Value("")) {
    const bool known = diff->is_string() && std::find(artifacts_.begin(), artifacts_.end(),
                                                      diff->string()) != artifacts_.end();
    if (!known) {
      Problem("receipt.diff_hash", "no event says that the receipt's diff was made",
              "/receipt/workspaceOut/diffHash");
    } else if (std::find(diffs_.begin(), diffs_.end(), diff->string()) == diffs_.end()) {
      Further("receipt.diff_kind",
              "the artifact that the receipt names as its diff is of another kind",
              "/receipt/workspaceOut/diffHash");
    }
  }
}

void BundleCheck::CheckList(const json::Value& receipt, std::string_view path,
                            std::array<std::string_view, 3> names, const List& expected,
                            std::string code, std::string message, bool further) {
  const std::size_t slash = path.find('/', 1);
  const json::Value* list = slash == std::string_view::npos
                                ? receipt.Find(path.substr(1))
                                : At(receipt, path.substr(1, slash - 1), path.substr(slash + 1));
  const json::Array* items = list != nullptr ? list->if_array() : nullptr;
  std::string pointer = "/receipt" + std::string(path);
  bool same = items != nullptr && items->size() == expected.size();
  for (std::size_t i = 0; same && i < expected.size(); ++i) {
    std::string entry;
    if (names[0].empty()) {
      entry = (*items)[i].is_string() ? (*items)[i].string() : std::string(kAbsent);
    } else {
      for (std::size_t n = 0; n < names.size() && !names[n].empty(); ++n) {
        if (n != 0) entry.push_back(kJoin);
        entry.append((*items)[i].FindString(names[n]).value_or(kAbsent));
      }
    }
    // Where an event has no such text, nothing in a receipt agrees with it.
    same = entry == expected[i] && entry.find(kAbsent) == std::string::npos;
    if (!same) pointer = json::PointerTo(pointer, i);
  }
  if (!same)
    report_.problems.push_back({std::move(code), std::move(message), std::move(pointer), further});
}

void BundleCheck::CheckClaim(const json::Value& contract, const json::Value& receipt) {
  if (claims_.empty()) Warn("chain.no_claim", "no event says that the run was claimed", "/events");
  const json::Value* expires = contract.Find("expiresAt");
  const std::optional<WallTime> expiry =
      expires != nullptr && expires->is_string() ? ExactTime(expires->string()) : std::nullopt;
  for (const Claim& claim : claims_) {
    const std::string pointer = json::PointerTo("/events", claim.index);
    if (expiry && claim.ts >= *expiry)
      Further("contract.expired_at_claim", "the contract had expired when it was claimed", pointer);
  }
  if (!claims_.empty()) {
    const Claim& last = claims_.back();
    const std::string pointer = json::PointerTo("/events", last.index);
    if (!IsText(At(receipt, "runner", "runnerId"), last.runner_id)) {
      Further("claim.runner_id", "the run was claimed by another runner than the receipt's",
              pointer);
    }
    if (!IsText(At(receipt, "runner", "keyId"), last.runner_key)) {
      Further("claim.runner_key", "the run was claimed under another key than the receipt's",
              pointer);
    }
  }
  for (const auto& [index, hash] : materialized_) {
    if (!IsText(At(receipt, "workspaceIn", "manifestHash"), hash)) {
      Further("event.manifest_hash", "another workspace was materialized than the receipt's",
              json::PointerTo("/events", index));
    }
  }
}

VerifyReport BundleCheck::Finish(const Envelopes& envelopes) {
  if (!IsText(envelopes.version, kBundleVersion)) {
    Problem("bundle.version", "not a bundle of version " + std::string(kBundleVersion), "/version");
  }
  WarnUnknown(envelopes.unknown, "");
  if (!envelopes.events_are_array)
    Problem("events.malformed", "there is no list of events", "/events");
  CheckKeys(envelopes.keys);
  static const json::Value kNone;
  const json::Value& contract = envelopes.contract != nullptr ? *envelopes.contract : kNone;
  const json::Value& receipt = envelopes.receipt != nullptr ? *envelopes.receipt : kNone;
  CheckContract(contract);
  CheckReceipt(contract, receipt);
  AddNotes(receipt);
  AddFacts(contract, receipt);
  report_.ok = report_.problems.empty();
  return std::move(report_);
}

}  // namespace writ::protocol
