// What others wrote (paths, arguments, contents of files), made fit to print: UTF-8 stays, what a terminal would obey does not.
#pragma once

#include <string>

namespace kilter::cli {

// Valid UTF-8 as it is; control characters, line separators, marks that reverse the text, and bytes that are no UTF-8 as \xNN.
std::string printable(const std::string& text);

// The same of at most `limit` bytes, with backslashes as \x5c: what was escaped can be told from what was there.
std::string escaped(const std::string& text, size_t limit);

// A path in a message.  A long one is cut in the middle: the name of the file stays.
std::string shown_path(const std::string& path);

}  // namespace kilter::cli
