// Jobs of the process tier that have the runner's own uid, and what their receipts say of it. Run
// as an ordinary user: a runner of root gives each job a uid.
#include <sys/stat.h>

#include "e2e/support/leased_world.h"

namespace writ {
namespace {

class CompanyTest : public test::LeasedWorld {
 protected:
  CompanyTest() { world_.config.slots = 2; }
};

TEST_F(CompanyTest, ARunBesideAJobWithTheRunnersUidSaysSo) {  // L47
  AddWaitingAgent();
  plane_.Add(Draft("run_one"));
  plane_.Add(Draft("run_two"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  ASSERT_TRUE(gate_.WaitForStart(2));  // both are in work at once
  gate_.Open();
  for (const char* run : {"run_one", "run_two"})
    ASSERT_TRUE(test::Eventually([&] { return plane_.Get(run).completions == 1; }));
  plane_.Add(Draft("run_alone"));
  ASSERT_TRUE(test::Eventually([&] { return plane_.Get("run_alone").completions == 1; }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  for (const char* run : {"run_one", "run_two", "run_alone"})
    ExpectOneGoodReceipt(run, "completed");
  EXPECT_TRUE(HasFinding("run_one", "isolation.shared_uid"));
  EXPECT_TRUE(HasFinding("run_two", "isolation.shared_uid"));
  EXPECT_FALSE(HasFinding("run_alone", "isolation.shared_uid"));
}

TEST_F(CompanyTest, ModesThatAJobTookFromItsRunnerAreSetBackAndInItsReceipt) {  // L41, L47
  const std::string journal = world_.config.state_dir + "/journal";
  world_.AddFake([&](test::FakeJobView&) {
    EXPECT_EQ(::chmod(journal.c_str(), 0), 0);
    return test::Exited(0);
  });
  plane_.Add(Draft("run_taker"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_taker", "completed");
  EXPECT_TRUE(HasFinding("run_taker", "isolation.modes_changed"));
  struct stat status {};
  ASSERT_EQ(::stat(journal.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0700, 0700u);
}

}  // namespace
}  // namespace writ
