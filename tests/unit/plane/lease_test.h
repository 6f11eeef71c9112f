// What the tests of leases share: a plane whose lease is taken, and time that passes while somebody
// sweeps.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "test_plane.h"

namespace writ::test {

// Lets `d` of the clock pass as it does under a running plane: with a sweep every few seconds.
inline void PassTime(TestPlane& plane, std::chrono::milliseconds d) {
  constexpr std::chrono::milliseconds kStep{10'000};
  while (d.count() > 0) {
    const auto step = std::min(d, kStep);
    plane.clock.Advance(step);
    auto swept = plane->SweepLeases();
    EXPECT_TRUE(swept) << (swept ? "" : swept.error().ToString());
    d -= step;
  }
}

// An acknowledged offer in the form of a claim.
inline plane::Claim Acknowledged(TestPlane& plane, const TestRunner& runner) {
  auto offered = plane->TakeOffer(runner.token, runner.pool, std::chrono::milliseconds(0));
  EXPECT_TRUE(offered && offered->offer) << "nothing is offered";
  if (!offered || !offered->offer) return {};
  plane::Claim claim{.run_id = offered->offer->run_id,
                     .contract = offered->offer->contract,
                     .claim_token = offered->offer->claim_token,
                     .events = {},
                     .secrets = {}};
  auto taken = plane->Acknowledge(claim.run_id, claim.claim_token);
  EXPECT_TRUE(taken) << (taken ? "" : taken.error().ToString());
  if (!taken) return {};
  claim.events = taken->events;
  claim.secrets = std::move(taken->secrets);
  EXPECT_TRUE(plane->SweepLeases());  // somebody watches from now on
  return claim;
}

inline RequestOptions IdempotentJob() {
  RequestOptions out;
  out.extra = json::Object{{"execution", json::Object{{"kind", "agent"},
                                                      {"agent", json::Object{{"kind", "mock"}}},
                                                      {"prompt", "do it"},
                                                      {"idempotent", true}}}};
  return out;
}

}  // namespace writ::test
