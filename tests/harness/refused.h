// A call that must be refused: with the right status and text, without a byte written, and alike when it is only asked about.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kilter/kilter.h"

namespace kilter::test {

using Snapshot = std::vector<std::vector<char>>;

// By the call alone: what is said of memory, which a question does not look at.
enum class Refused { by_call_and_question, by_call_alone };

// The call as it was made with one change: refused with that status, a text that names op, argument, expected and got, and
// no byte of any tensor or of the workspace written.
template <class Call, class F>
void expect_refused(Call& call, kilter_status status, const std::string& argument, F change, Refused by = Refused::by_call_and_question) {
  call.attach();
  change();
  const Snapshot before = call.snapshot();
  EXPECT_EQ(call.run(), status) << kilter_last_error();
  const std::string text = kilter_last_error();
  for (const std::string& part : {call.op() + std::string(": "), argument, std::string("expected"), std::string("got")})
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is missing in: " << text;
  for (const char* vague : {"got another", "got one"}) EXPECT_EQ(text.find(vague), std::string::npos) << text;
  EXPECT_TRUE(before == call.snapshot()) << argument << ": memory was written";
  if (by == Refused::by_call_alone) return;
  const kilter_plan untouched = {sizeof untouched, "untouched", 12345};
  kilter_plan plan = untouched;
  EXPECT_EQ(call.ask(&plan), status) << argument << ": asked about: " << kilter_last_error();
  EXPECT_EQ(kilter_last_error(), text);
  EXPECT_EQ(std::memcmp(&plan, &untouched, sizeof plan), 0) << argument;
  EXPECT_TRUE(before == call.snapshot()) << argument << ": memory was written by a question";
}

}  // namespace kilter::test
