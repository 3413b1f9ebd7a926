/*
 * yoml.h: the header that <h2o/configurator.h> includes and that distributions do not ship. It has to declare
 * yoml_t, in the layout that libh2o was compiled with: that is struct yaml_node, see http/conf/yaml.h.
 */
#ifndef CHANGEFEED_HTTP_H2O_COMPAT_YOML_H
#define CHANGEFEED_HTTP_H2O_COMPAT_YOML_H

#include "http/conf/yaml.h"

typedef struct yaml_node yoml_t;

#endif
