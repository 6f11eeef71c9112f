// A bundle at hand as a tree: building one, and verifying one. The plain counterpart of
// bundle_scan.cc.
#include "bundle_check.h"
#include "exact_time.h"

namespace writ::protocol {
namespace {

std::string_view Read(const json::Value& value, EventFacts& facts) {
  const json::Object* members = value.if_object();
  if (members == nullptr) return "is not an object";
  const json::Value* event = members->Find("event");
  if (event != nullptr) {
    facts.type = event->FindString("type").value_or("");
    if (const EventFields* fields = FieldsOf(facts.type)) {
      for (std::size_t i = 0; i < fields->names.size() && !fields->names[i].empty(); ++i)
        facts.fields[i] = event->FindString(fields->names[i]);
    }
  }
  std::string_view wrong;
  const auto complain = [&](std::string_view what) {
    if (wrong.empty()) wrong = what;
  };
  const auto digest = [&](std::string_view name, Digest& into) {
    Result<Digest> parsed = Digest::Parse(value.FindString(name).value_or(""));
    if (parsed) into = *parsed;
    return parsed.has_value();
  };
  if (value.FindString("version") != kEventVersion) complain("is not of version warrant.event.v1");
  const json::Value* seq = members->Find("seq");
  const std::optional<std::int64_t> number = seq != nullptr ? seq->AsInteger() : std::nullopt;
  if (number && *number >= 0)
    facts.seq = static_cast<std::uint64_t>(*number);
  else
    complain("has no sequence number");
  facts.ts_text = value.FindString("ts").value_or("");
  if (const auto time = ExactTime(facts.ts_text))
    facts.ts = *time;
  else
    complain("has no time in the protocol's form");
  if (!digest("prev", facts.prev)) complain("has no hash of its predecessor");
  if (!digest("hash", facts.stated)) complain("has no hash");
  if (event == nullptr || !event->is_object() || facts.type.empty()) complain("has no typed body");
  for (const json::Member& member : *members) {
    if (member.name != "version" && member.name != "seq" && member.name != "ts" &&
        member.name != "prev" && member.name != "event" && member.name != "hash") {
      complain("has a member that its hash does not cover");
    }
  }
  if (!wrong.empty()) return wrong;
  facts.computed = HashValue(
      json::Object{{"seq", *seq}, {"ts", facts.ts_text}, {"prev", facts.prev}, {"event", *event}});
  return {};
}

}  // namespace

json::Value BuildBundle(const Contract& contract, const Receipt& receipt,
                        std::span<const Event> events, const BundleKeys& keys) {
  json::Array list;
  list.reserve(events.size());
  for (const Event& event : events) list.push_back(event.ToJson());
  json::Object pems{{"planePublicKeyPem", keys.plane.ToPem()},
                    {"runnerPublicKeyPem", keys.runner.ToPem()}};
  if (keys.org) pems.Set("orgPublicKeyPem", keys.org->ToPem());
  return json::Object{{"version", kBundleVersion},
                      {"contract", contract.raw},
                      {"receipt", receipt.raw},
                      {"events", std::move(list)},
                      {"keys", std::move(pems)}};
}

VerifyReport VerifyBundleValue(const json::Value& bundle, const VerifyOptions& options) {
  BundleCheck check(options);
  const json::Object* members = bundle.if_object();
  if (members == nullptr) {
    check.Refuse("bundle.malformed", "not a bundle: the JSON is not an object");
    return check.TakeRefusal();
  }
  BundleCheck::Envelopes envelopes{.version = members->Find("version"),
                                   .contract = members->Find("contract"),
                                   .receipt = members->Find("receipt"),
                                   .keys = members->Find("keys"),
                                   .events_are_array = false,
                                   .unknown = {}};
  for (const json::Member& member : *members) {
    if (member.name == "events") {
      const json::Array* events = member.value.if_array();
      envelopes.events_are_array = events != nullptr;
      for (std::size_t i = 0; events != nullptr && i < events->size(); ++i) {
        EventFacts facts;
        facts.index = i;
        facts.malformed = Read((*events)[i], facts);
        check.OnEvent(facts);
      }
    } else if (member.name != "version" && member.name != "contract" && member.name != "receipt" &&
               member.name != "keys") {
      envelopes.unknown.push_back(member.name);
    }
  }
  return check.Finish(envelopes);
}

bool VerifyReport::HasProblem(std::string_view code) const {
  for (const Finding& problem : problems)
    if (problem.code == code) return true;
  return false;
}

}  // namespace writ::protocol
