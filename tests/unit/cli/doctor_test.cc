#include "doctor.h"

#include <gtest/gtest.h>

namespace writ::cli {
namespace {

TEST(Doctor, KnowsUidsThatTheNamespaceDoesNotHave) {
  const runner::UidRange range{2'000'000'000, 3};
  EXPECT_TRUE(UidsAreMapped("         0          0 4294967295\n", range));
  EXPECT_FALSE(UidsAreMapped("0 100000 65536\n", range));
  EXPECT_TRUE(UidsAreMapped("2000000001 7 2\n0 0 1\n2000000000 5 1\n", range)) << "in two pieces";
  EXPECT_FALSE(UidsAreMapped("2000000000 5 1\n2000000002 7 2\n", range)) << "with a gap";
  EXPECT_FALSE(UidsAreMapped("", range));
}

TEST(Doctor, SaysWhatIsMissingWithCauseAndMend) {
  DoctorReport report;
  report.layers = {
      {"disk", Health::kGood, "1 GiB", "", ""},
      {"plane", Health::kBad, "https://plane\x1b[31m", "it does not answer", "start it"}};
  const std::string text = RenderDoctor(report);
  EXPECT_NE(text.find("cause: it does not answer"), std::string::npos);
  EXPECT_NE(text.find("mend:  start it"), std::string::npos);
  EXPECT_NE(text.find("missing: plane"), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const json::Value value = DoctorJson(report);
  EXPECT_EQ(value.Find("layers")->array()[1].FindString("health"), "missing");
}

TEST(Doctor, LooksAtThisMachineWithoutChangingIt) {
  EXPECT_NE(LookAtKernel().found.find("Linux"), std::string::npos);
  for (const Layer& layer : {LookAtUserNamespaces(), LookAtKvm(), LookAtCgroups(), LookAtMemory(),
                             LookAtDisk("/var/lib/writ/never/made")})
    EXPECT_FALSE(layer.found.empty()) << layer.name;
}

}  // namespace
}  // namespace writ::cli
