#pragma once
#include <stddef.h>
typedef struct _FILE FILE;
