/* The only place where the version is written; CMake reads it from here. */
#ifndef KILTER_VERSION_H_
#define KILTER_VERSION_H_

#define KILTER_VERSION_MAJOR 0
#define KILTER_VERSION_MINOR 1
#define KILTER_VERSION_PATCH 0

#endif /* KILTER_VERSION_H_ */
