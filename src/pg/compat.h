/*
 * compat.h: what differs between the versions of PostgreSQL, 14 to 18. The only tests of PG_VERSION_NUM.
 */
#ifndef CHANGEFEED_PG_COMPAT_H
#define CHANGEFEED_PG_COMPAT_H

#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 140000
#error "pg_changefeed needs PostgreSQL 14 or later"
#endif

/* 18 can tell which version of a module is loaded: pg_get_loaded_modules(). */
#if PG_VERSION_NUM >= 180000
#define CHANGEFEED_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "pg_changefeed", .version = PG_CHANGEFEED_VERSION)
#else
#define CHANGEFEED_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Makes a misspelt changefeed.* setting an error (15 and later) or at least a warning in the log. */
#if PG_VERSION_NUM >= 150000
#define settings_prefix_reserve(prefix) MarkGUCPrefixReserved(prefix)
#else
#define settings_prefix_reserve(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* Whether a user may use what is in a schema. */
#if PG_VERSION_NUM >= 160000
#define schema_aclcheck(schema, user) object_aclcheck(NamespaceRelationId, (schema), (user), ACL_USAGE)
#else
#define schema_aclcheck(schema, user) pg_namespace_aclcheck((schema), (user), ACL_USAGE)
#endif

/* Prepares a set-returning function, whose rows go into rsinfo->setResult as rsinfo->setDesc describes them. */
#if PG_VERSION_NUM >= 150000
#define rows_begin(fcinfo) InitMaterializedSRF((fcinfo), 0)
#else
static inline void rows_begin(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *)fcinfo->resultinfo;
	MemoryContext caller;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || (rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("set-valued function called in context that cannot accept a set")));
	caller = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &rsinfo->setDesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setResult =
		tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
	MemoryContextSwitchTo(caller);
}
#endif

#endif
