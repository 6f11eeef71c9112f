// PlaneMetrics: the numbers of a plane (writ/base/status/metric_set.h). Thread-safe.
//
// Counters begin anew with the process; gauges are read from the store when they are asked for.
#pragma once

#include "writ/base/status/metric_set.h"

namespace writ::plane {

enum class Family {
  kRunsEnded,        // {status,by} counter
  kRuns,             // {state} gauge
  kQueueSeconds,     // histogram
  kClaims,           // {kind} counter
  kLeases,           // {state} gauge
  kLeaseRenewals,    // counter
  kReceipts,         // {kind} counter
  kUploads,          // {way,result} counter
  kUploadBytes,      // counter
  kBlobs,            // gauge
  kBlobBytes,        // gauge
  kCollected,        // {what} counter
  kCollectedBytes,   // counter
  kCollectedAt,      // gauge
  kSweepFailures,    // counter
  kRequests,         // {route,status} counter
  kRefusedRequests,  // {reason} counter
  kConnections,      // gauge
  kTurnedAway,       // counter
  kRunners,          // {state} gauge
  kReady,            // gauge
};

class PlaneMetrics : public status::Metrics<Family> {
 public:
  PlaneMetrics();
};

}  // namespace writ::plane
