#include "writ/protocol/event.h"

#include <algorithm>

namespace writ::protocol {

Digest Event::ComputeHash() const {
  return HashValue(
      json::Object{{"seq", seq}, {"ts", FormatRfc3339(ts)}, {"prev", prev}, {"event", event}});
}

json::Value Event::ToJson() const {
  return json::Object{{"version", kEventVersion}, {"seq", seq},
                      {"ts", FormatRfc3339(ts)},  {"prev", prev},
                      {"event", event},           {"hash", hash}};
}

Event Event::Read(json::ObjectReader reader) {
  Event out;
  reader.Literal("version", kEventVersion);
  out.seq = static_cast<std::uint64_t>(reader.Integer("seq"));
  out.ts = reader.Time("ts");
  out.prev = reader.As<Digest>("prev");
  if (const json::Value* event = reader.Require("event")) {
    json::ObjectReader(reader.issues(), *event, reader.PointerOf("event"))
        .String("type", {.min_bytes = 1, .max_bytes = 128});
    out.event = *event;
  }
  out.hash = reader.As<Digest>("hash");
  reader.RefuseUnknown();
  return out;
}

Result<Event> Event::Parse(const json::Value& value) {
  json::Issues issues;
  Event out = Read(json::ObjectReader(issues, value));
  WRIT_TRY(issues.ToStatus("the event"));
  return out;
}

Result<std::vector<Event>> Event::ParseAll(const json::Value& array) {
  json::Issues issues;
  std::vector<Event> out;
  const json::Array* items = array.if_array();
  if (items == nullptr) {
    issues.Add("object.type", "", "must be an array");
  } else {
    out.reserve(items->size());
    for (std::size_t i = 0; i < items->size(); ++i)
      out.push_back(Read(json::ObjectReader(issues, (*items)[i], json::PointerTo("", i))));
  }
  WRIT_TRY(issues.ToStatus("the list of events"));
  return out;
}

Result<EventChain> EventChain::FromEvents(const Digest& contract_hash,
                                          std::span<const Event> events) {
  EventChain chain(contract_hash);
  for (const Event& event : events) WRIT_TRY(chain.Accept(event));
  return chain;
}

Event EventChain::Append(WallTime now, json::Value event) {
  Event out;
  out.seq = state_.next_seq;
  out.ts = state_.next_seq == 0 ? now : std::max(now, state_.last_ts);
  out.prev = state_.head;
  out.event = std::move(event);
  out.hash = out.ComputeHash();
  state_ = {out.seq + 1, out.hash, out.ts};
  return out;
}

Status EventChain::Accept(const Event& event) {
  const std::string at = "event " + std::to_string(event.seq);
  if (event.seq != state_.next_seq) {
    return Error{
        .kind = ErrorKind::kConflict,
        .code = "chain.sequence_gap",
        .message = at + " comes where event " + std::to_string(state_.next_seq) + " should"};
  }
  if (event.prev != state_.head) {
    return Error{.kind = ErrorKind::kConflict,
                 .code = "chain.prev_mismatch",
                 .message = at + " does not follow the last event"};
  }
  if (event.hash != event.ComputeHash()) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "chain.hash_mismatch",
                 .message = at + " does not have the hash that it states"};
  }
  state_ = {event.seq + 1, event.hash, event.ts};
  return {};
}

}  // namespace writ::protocol
