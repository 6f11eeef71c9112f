// UnrulyRoad: what lies between a runner and its plane when nothing can be relied on. An HTTP/1.1
// forwarder on loopback that does one deed to each request, chosen by a seeded generator. It reads
// a whole request and a whole answer and gives each connection one exchange. Owns its threads and
// joins them; thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "writ/base/unique_fd.h"

namespace writ::test {

enum class RoadDeed {
  kDropRequest,  // closed, nothing was forwarded
  kDropAnswer,   // the plane did it, and nobody hears
  kDelay,        // up to 1.5 s, before or after
  kTwice,        // forwarded twice, the second answer is given
  kReorder,      // forwarded once more after later requests: a late duplicate
  kError500,     // not forwarded
  kTooMany429,   // not forwarded, Retry-After: 1
  kGarbage,      // no HTTP
  kWrongJson,    // forwarded; a 200 of the wrong shape comes back
  kCut,          // half of the answer
};
inline constexpr std::array kRoadDeeds{
    RoadDeed::kDropRequest, RoadDeed::kDropAnswer, RoadDeed::kDelay,      RoadDeed::kTwice,
    RoadDeed::kReorder,     RoadDeed::kError500,   RoadDeed::kTooMany429, RoadDeed::kGarbage,
    RoadDeed::kWrongJson,   RoadDeed::kCut};
const char* RoadWord(RoadDeed deed);

class UnrulyRoad {
 public:
  explicit UnrulyRoad(unsigned seed);
  ~UnrulyRoad();
  UnrulyRoad(const UnrulyRoad&) = delete;
  UnrulyRoad& operator=(const UnrulyRoad&) = delete;

  unsigned port() const { return port_; }
  void LeadTo(unsigned plane_port) { plane_port_ = plane_port; }
  // Of a hundred requests so many are done one of these deeds to; 0: a good road.
  void Behave(std::vector<RoadDeed> deeds, int percent);
  int done() const { return done_; }      // deeds so far
  int leases() const { return leases_; }  // calls that renew a lease, whatever was done to them

 private:
  void Serve();
  void Exchange(UniqueFd client);
  std::string Forward(const std::string& request);
  std::vector<std::string> HeldRequests();

  UniqueFd listener_, stop_;
  unsigned port_ = 0;
  std::atomic<unsigned> plane_port_{0};
  std::atomic<int> done_{0}, leases_{0};
  std::mutex mutex_;  // guards what follows
  std::mt19937 random_;
  std::vector<RoadDeed> deeds_;
  int percent_ = 0;
  std::vector<std::string> held_;  // requests to be repeated late
  std::list<std::thread> exchanges_;
  std::jthread server_;
};

}  // namespace writ::test
