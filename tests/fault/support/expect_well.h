// What must hold for a world's runs once the faults are over.
#pragma once

#include <gtest/gtest.h>

#include "fault/support/fault_world.h"

namespace writ::test {

// Waits for the runs to end, ends runner and plane, and looks: one receipt for each, nothing waits,
// nothing is left, nothing is lost, and the secret is nowhere.
inline void ExpectAllWell(FaultWorld& world, const std::vector<std::string>& run_ids) {
  constexpr std::chrono::milliseconds kEnd{90'000};
  for (const std::string& run_id : run_ids) {
    const bool ended = world.Await([&] { return world.Ended(world.Run(run_id)); }, kEnd);
    ASSERT_TRUE(ended) << json::Write(world.Run(run_id)) << world.Log();
  }
  EXPECT_TRUE(world.Await([&] { return world.WaitingReceipts().empty(); }, kEnd))
      << world.WaitingReceipts().front() << world.Log();
  EXPECT_TRUE(world.AwaitServing()) << world.Log();  // before that a signal just ends it
  EXPECT_EQ(world.DrainRunner(), 0) << world.Log();
  for (const std::string& run_id : run_ids)
    EXPECT_EQ(world.ReceiptProblems(run_id), std::vector<std::string>()) << world.Log();
  EXPECT_EQ(world.SecretProblems(), std::vector<std::string>());
  EXPECT_EQ(world.StopPlane(), 0) << world.Log();
  EXPECT_EQ(world.LeftoverProblems(), std::vector<std::string>()) << world.Log();
  EXPECT_EQ(world.SecretProblems(), std::vector<std::string>());
}

}  // namespace writ::test
