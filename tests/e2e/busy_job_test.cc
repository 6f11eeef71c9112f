// L40 with a real job: several spinning processes for each CPU, and the lease is renewed meanwhile.
#include <thread>

#include "e2e/support/leased_world.h"
#include "support/places.h"
#include "writ/backends/process_backend.h"

namespace writ {
namespace {

using test::Eventually;

class BusyJob : public test::LeasedWorld {};

TEST_F(BusyJob, OfManySpinningProcessesDoesNotStarveItsLease) {
  plane_.SetLease({.renew_after_ms = 200});
  ASSERT_TRUE(world_.registry.Add(
      backends::MakeProcessBackend({.launcher = test::BinDir() + "/writ-launch"})));
  const backends::Capabilities& can = world_.registry.All().front()->Probe();
  if (!can.usable) GTEST_SKIP() << "no process tier here: " << can.unusable_reason;
  const unsigned spinners = 4 * std::max(1u, std::thread::hardware_concurrency());
  protocol::Contract draft = Draft("run_busy");
  draft.execution->script = "i=0; while [ $i -lt " + std::to_string(spinners) +
                            " ]; do (while :; do :; done) & i=$((i+1)); done; echo spinning; wait";
  draft.execution->timeout_ms = 300'000;
  plane_.Add(std::move(draft));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_busy").log == "spinning\n"; }))
      << plane_.Get("run_busy").log;
  const int before = plane_.Get("run_busy").renewals;
  EXPECT_TRUE(Eventually([&] { return plane_.Get("run_busy").renewals >= before + 20; }))
      << plane_.Get("run_busy").renewals - before;
  // The job is still there: it was busy all the time.
  EXPECT_EQ(plane_.Get("run_busy").completions, 0);
  EXPECT_EQ(world_.observer.steps().find("ended"), std::string::npos);
  plane_.RequestCancel("run_busy");
  EXPECT_TRUE(Eventually([&] { return plane_.Get("run_busy").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  ExpectOneGoodReceipt("run_busy", "cancelled");
  EXPECT_FALSE(HasFinding("run_busy", "lease.gap"));
}

}  // namespace
}  // namespace writ
