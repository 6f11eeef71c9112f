// The backends that the suite is run over.
#include "conformance/conformance_suite.h"

namespace writ::test {

INSTANTIATE_TEST_SUITE_P(Backends, Conformance,
                         testing::Values("process", "sandbox", "container", "container_runc"),
                         [](const auto& tested) { return tested.param; });

}  // namespace writ::test
