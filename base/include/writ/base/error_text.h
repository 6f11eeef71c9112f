// ErrorText: how an error is told to people, the same in every program of ours.
#pragma once

#include <string>

#include "writ/base/result.h"

namespace writ {

// "SENTENCE [code]\n", and behind it "hint: HINT\n" where there is one; an error without a code is
// told without brackets. Words from outside are in it as they came: a terminal gets it escaped.
std::string ErrorText(const Error& error);

// What to do about a file of a command line that cannot be read or written (file.*, path.*), for an
// error without a hint of its own.
std::string HintForFile(const Error& error);

// The same about JSON that is none (json.*), or not what it must be (object.*); "" for others.
std::string HintForJson(const Error& error);

}  // namespace writ
