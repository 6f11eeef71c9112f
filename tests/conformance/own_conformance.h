// The suite's fixture over backends of this tree that the suite as a whole is not run over, by
// their names in own_backends.cc.
#pragma once

#include "conformance/conformance_suite.h"

namespace writ::test {

class OwnConformance : public Conformance {
 protected:
  void SetUp() override { Use(MakeBackend(GetParam())); }
  bool OwnView() const override { return GetParam() != "process"; }
};

}  // namespace writ::test
