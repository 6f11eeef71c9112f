// The values of offers, leases, rotation and late receipts (protocol.md section 6).
//
// A run's way through them: created -> offered (still `created`, shown to nobody else, for
// Config::lease.offer) -> acknowledged (`claimed`, with a lease) -> renewed until its receipt
// comes. A lease that ran out longer ago than the grace is closed by the plane with a receipt that
// only the plane signs; what the runner finished nevertheless is kept beside it as the late
// receipt.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/plane/types.h"

namespace writ::plane {

struct Offer {
  std::string run_id;
  std::string contract;
  std::string claim_token;          // opens nothing before the acknowledgement
  std::vector<std::string> events;  // end before run.claimed
  std::chrono::milliseconds lasts{0};
};
struct OfferAnswer {
  std::optional<Offer> offer;
  bool rotate = false;  // the runner is to rotate its key and gets no offer before that
};

struct LeaseTimes {
  std::chrono::milliseconds lease{0};
  std::chrono::milliseconds renew_after{0};
};

struct Acknowledgement {
  std::vector<std::string> events;  // the whole chain so far
  std::vector<ReleasedSecret> secrets;
  LeaseTimes times;
};

struct LeaseCall {
  std::string_view claim_token;
  std::string_view runner_token = {};  // may be empty; needed once the claim token has run out
  std::chrono::milliseconds wait{0};
  std::function<bool()> abandoned = {};  // nobody waits for the answer any more; may be empty
};
struct LeaseAnswer {
  LeaseTimes times;
  std::string claim_token;  // a fresh one; empty: go on with the old one
  bool cancel_requested = false;
  std::optional<Actor> cancelled_by;
  bool rotate = false;
  // The plane has closed the run: no lease; the fresh token opens blobs only, for the late bundle.
  bool closed = false;
};

// Why the plane closed a run in its runner's place.
inline constexpr std::string_view kClosedLeaseExpired = "lease_expired";
inline constexpr std::string_view kClosedRunnerRevoked = "runner_revoked";

// What a runner finished after its run had been closed.
struct LateReceipt {
  std::string_view claim_token = {};  // may be empty
  std::string_view runner_token;
  const json::Value& events;  // from any place of the stored chain on, up to the terminal event
  const json::Value& receipt;
};

struct RotationCall {
  std::string_view runner_token;
  std::string_view public_key_pem;  // the new key's
  std::string_view proof;  // base64: the old key's signature over "writ-rotate:" + the new key id
};

}  // namespace writ::plane
