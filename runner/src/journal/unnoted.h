// LogUnnoted: a note that the journal did not take and that a run can do without, said in the log
// with what it costs. What a run cannot do without - its claim, its session's name, its events and
// its receipt - is an error where it is noted, never this.
#pragma once

#include <string_view>

#include "writ/base/log.h"
#include "writ/base/result.h"
#include "writ/protocol/names.h"

namespace writ::runner {

inline constexpr std::string_view kUnnotedToken =
    "a renewed claim token could not be noted: after a kill the older one is used";

// True: it was taken.
inline bool LogUnnoted(const Status& noted, const protocol::RunId& run, std::string_view cost) {
  if (!noted)
    log::Warn("runner.journal", cost,
              {{"run", run.text()}, {"code", noted.error().code}, {"hint", noted.error().hint}});
  return noted.has_value();
}

}  // namespace writ::runner
