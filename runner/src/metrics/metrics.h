// Metrics: the numbers of a runner (writ/base/status/metric_set.h). Thread-safe.
#pragma once

#include "writ/base/status/metric_set.h"

namespace writ::runner {

enum class Family {
  kRuns,            // {status,failure} counter
  kActive,          // gauge
  kStepSeconds,     // {step} histogram
  kRunSeconds,      // {status} histogram
  kQueueSeconds,    // histogram
  kOffers,          // {fate} counter
  kLeases,          // gauge: held now
  kLeaseEvents,     // {event} counter
  kSlots,           // {state} gauge
  kMachine,         // {resource,state} gauge
  kMachinePool,     // {state} gauge
  kJournal,         // {state} gauge
  kUploads,         // {result} counter
  kUploadBytes,     // counter
  kProxyDecisions,  // {decision} counter
  kLeaks,           // counter
  kHooks,           // {hook,result} counter
  kHookSeconds,     // {hook} histogram
  kReady,           // gauge
  kDraining,        // gauge
};

class Metrics : public status::Metrics<Family> {
 public:
  using Labels = status::Labels;
  Metrics();
};

}  // namespace writ::runner
