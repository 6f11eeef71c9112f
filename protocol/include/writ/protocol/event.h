// Events `warrant.event.v1` and their hash chain.
//
// hash = hash of {seq,ts,prev,event}; prev of event 0 is the contract hash; seq counts from 0; ts
// never runs backwards (the writer takes the later of its clock and the previous ts). The plane
// writes the chain's beginning, the runner continues it. Builders for the event objects are in
// events.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/reader.h"

namespace writ::protocol {

inline constexpr std::string_view kEventVersion = "warrant.event.v1";

struct Event {
  std::uint64_t seq = 0;
  WallTime ts;
  Digest prev;
  json::Value event;  // an object with a string member `type`
  Digest hash;        // as stated; ComputeHash says what it should be

  std::string_view type() const { return event.FindString("type").value_or(""); }
  Digest ComputeHash() const;
  json::Value ToJson() const;
  // Strict: exactly the members of the protocol, since anything else would stand outside the hash.
  // The chain itself is not looked at.
  static Event Read(json::ObjectReader reader);
  static Result<Event> Parse(const json::Value& value);
  static Result<std::vector<Event>> ParseAll(const json::Value& array);
};

// Where a chain stands: all that is needed to continue it (the journal keeps this).
struct ChainHead {
  std::uint64_t next_seq = 0;
  Digest head;  // hash of the last event, or the contract hash before the first
  WallTime last_ts;
};

class EventChain {
 public:
  explicit EventChain(const Digest& contract_hash) : state_{0, contract_hash, {}} {}
  explicit EventChain(const ChainHead& head) : state_(head) {}
  // Checks that the events are a whole chain from the contract hash, and stands behind the last of
  // them.
  static Result<EventChain> FromEvents(const Digest& contract_hash, std::span<const Event> events);

  // Makes the next event; its ts is the later of `now` and the previous ts.
  Event Append(WallTime now, json::Value event);
  // Takes somebody else's next event after checking seq, prev, hash: kConflict
  // "chain.sequence_gap", "chain.prev_mismatch", kIntegrity "chain.hash_mismatch".
  Status Accept(const Event& event);
  const ChainHead& head() const { return state_; }

 private:
  ChainHead state_;
};

}  // namespace writ::protocol
