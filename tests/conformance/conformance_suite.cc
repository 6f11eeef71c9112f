// The backends that the suite is run over: those that Run was given.
#include "conformance/conformance_suite.h"

namespace writ::test {

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, testing::ValuesIn(conformance::TestedNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace writ::test
