//! Errors in Redfish's form, with messages of its base registry.
//!
//! Spec: DSP0266 "Error responses"; DSP8011 "Redfish standard registries" (Base).

use super::answer;
use crate::error::Error;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

/// Why a request is not answered with what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody is known by what came along.
    Unknown,
    /// The user's role has not the privilege.
    Forbidden,
    /// Nothing is at this path.
    Missing(String),
    /// The resource does not know the method: these it knows.
    Method(&'static str),
    /// An action of a resource that knows others.
    Action(String),
    /// A parameter of an action has a value that is not allowed: value, parameter, action.
    Value(String, &'static str, &'static str),
    /// A parameter of an action has a value of another type: value, parameter, action.
    Type(String, &'static str, &'static str),
    /// An action lacks a parameter: action, parameter.
    Lacks(&'static str, &'static str),
    /// An action has a parameter that it does not know: action, parameter.
    Extra(&'static str, String),
    /// A property that must be there.
    Property(&'static str),
    /// A property that is not known.
    Stray(String),
    /// A property has a value of another type: value, property.
    Kind(String, &'static str),
    /// A property has a value that is not in its list: value, property.
    Unlisted(String, &'static str),
    /// The client has seen another state of the resource than it is in.
    Changed,
    /// An address from which nothing may be inserted.
    Forbids(String),
    /// The body is no JSON object.
    Json,
    /// The body is not said to be JSON.
    Media,
    /// Nothing that the client accepts can be sent.
    Accept,
    /// The body has too many bytes.
    Large,
    /// The body did not come in time.
    Slow,
    /// A query that this server does not know.
    Query,
    /// Another version of OData.
    OData,
    /// A resource is not in the state that a change asks for.
    Standby,
    /// There is no room for another session.
    Full,
    /// Too much is under way.
    Busy,
    /// A change was refused by `cellctl`: why, and what to do.
    Refused(String, String),
    /// The machine does not answer; what is behind it is in the journal.
    Broken,
}

/// What goes into an answer: status, message, text, arguments, severity, resolution.
struct Told {
    status: StatusCode,
    id: &'static str,
    text: String,
    args: Vec<String>,
    severity: &'static str,
    help: String,
}

fn told(status: StatusCode, id: &'static str, text: &str, args: &[&str], help: &str) -> Told {
    let fill = |text: String, (i, arg): (usize, &&str)| text.replace(&format!("%{}", i + 1), arg);
    Told {
        status,
        id,
        text: args.iter().enumerate().fold(text.to_owned(), fill),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        severity: "Critical",
        help: help.to_owned(),
    }
}

const RESUBMIT: &str = "and resubmit the request if the operation failed.";

impl Refusal {
    /// Something of this machine failed: it is told to the journal, and not to the client.
    pub(crate) fn broken(why: &Error) -> Self {
        eprintln!("{why}");
        Self::Broken
    }

    fn told(&self) -> Told {
        use StatusCode as S;
        match self {
            Self::Unknown => told(
                S::UNAUTHORIZED,
                "NoValidSession",
                "There is no valid session established with the implementation.",
                &[],
                "Establish a session before attempting any operations.",
            ),
            Self::Forbidden => told(
                S::FORBIDDEN,
                "InsufficientPrivilege",
                "There are insufficient privileges for the account or credentials associated with the current session to perform the requested operation.",
                &[],
                &format!(
                    "Either abandon the operation or change the associated access rights {RESUBMIT}"
                ),
            ),
            Self::Missing(path) => told(
                S::NOT_FOUND,
                "ResourceMissingAtURI",
                "The resource at the URI '%1' was not found.",
                &[path],
                "Place a valid resource at the URI or correct the URI and resubmit the request.",
            ),
            Self::Method(_) => told(
                S::METHOD_NOT_ALLOWED,
                "OperationNotAllowed",
                "The HTTP method is not allowed on this resource.",
                &[],
                "None.",
            ),
            Self::Accept => told(
                S::NOT_ACCEPTABLE,
                "HeaderInvalid",
                "Header '%1' is invalid.",
                &["Accept"],
                "Resubmit the request with a valid request header.",
            ),
            Self::Media => told(
                S::UNSUPPORTED_MEDIA_TYPE,
                "HeaderInvalid",
                "Header '%1' is invalid.",
                &["Content-Type"],
                "Resubmit the request with a valid request header.",
            ),
            Self::OData => told(
                S::PRECONDITION_FAILED,
                "HeaderInvalid",
                "Header '%1' is invalid.",
                &["OData-Version"],
                "Resubmit the request with a valid request header.",
            ),
            Self::Query => told(
                S::NOT_IMPLEMENTED,
                "QueryNotSupported",
                "Querying is not supported by the implementation.",
                &[],
                &format!("Remove the query parameters {RESUBMIT}"),
            ),
            Self::Standby => told(
                S::CONFLICT,
                "ResourceInStandby",
                "The request could not be performed because the resource is in standby.",
                &[],
                "Ensure that the resource is in the correct power state and resubmit the request.",
            ),
            Self::Changed => told(
                S::PRECONDITION_FAILED,
                "PreconditionFailed",
                "The ETag supplied did not match the ETag required to change this resource.",
                &[],
                "Try the operation again using the appropriate ETag.",
            ),
            Self::Forbids(image) => told(
                S::BAD_REQUEST,
                "ActionParameterValueError",
                "The value for the parameter %1 in the action %2 is invalid.",
                &["Image", "VirtualMedia.InsertMedia"],
                &format!(
                    "{image} is below no place that the machine's redfish.toml names as media.from."
                ),
            ),
            Self::Full => told(
                S::SERVICE_UNAVAILABLE,
                "CreateLimitReachedForResource",
                "The create operation failed because the resource has reached the limit of possible resources.",
                &[],
                &format!("Either delete resources {RESUBMIT}"),
            ),
            Self::Busy => told(
                S::SERVICE_UNAVAILABLE,
                "ServiceTemporarilyUnavailable",
                "The service is temporarily unavailable.  Retry in %1 seconds.",
                &["5"],
                "Wait for the indicated retry duration and retry the operation.",
            ),
            Self::Refused(why, help) => told(S::CONFLICT, "GeneralError", why, &[], help),
            Self::Broken => told(
                S::SERVICE_UNAVAILABLE,
                "InternalError",
                "The request failed due to an internal service error.  The service is still operational.",
                &[],
                "Resubmit the request.  If the problem persists, consider resetting the service.",
            ),
            _ => self.of_the_body(),
        }
    }

    /// What is wrong with the body of a request.
    fn of_the_body(&self) -> Told {
        let bad =
            |id, text, args: &[&str], help| told(StatusCode::BAD_REQUEST, id, text, args, help);
        match self {
            Self::Action(action) => bad(
                "ActionNotSupported",
                "The action %1 is not supported by the resource.",
                &[action],
                "Check the Actions property in the resource for the supported actions.",
            ),
            Self::Value(value, key, action) => bad(
                "ActionParameterValueNotInList",
                "The value '%1' for the parameter %2 in the action %3 is not in the list of acceptable values.",
                &[value, key, action],
                "Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed.",
            ),
            Self::Type(value, key, action) => bad(
                "ActionParameterValueTypeError",
                "The value '%1' for the parameter %2 in the action %3 is not a type that the parameter can accept.",
                &[value, key, action],
                "Correct the value for the parameter in the request body and resubmit the request if the operation failed.",
            ),
            Self::Lacks(action, key) => bad(
                "ActionParameterMissing",
                "The action %1 requires the parameter %2 to be present in the request body.",
                &[action, key],
                "Supply the action with the required parameter in the request body when the request is resubmitted.",
            ),
            Self::Extra(action, key) => bad(
                "ActionParameterUnknown",
                "The action %1 was submitted with the invalid parameter %2.",
                &[action, key],
                "Correct the invalid action parameter and resubmit the request if the operation failed.",
            ),
            Self::Property(key) => bad(
                "PropertyMissing",
                "The property %1 is a required property and must be included in the request.",
                &[key],
                "Ensure that the property is in the request body and has a valid value and resubmit the request if the operation failed.",
            ),
            Self::Stray(key) => bad(
                "PropertyUnknown",
                "The property %1 is not in the list of valid properties for the resource.",
                &[key],
                "Remove the unknown property from the request body and resubmit the request if the operation failed.",
            ),
            Self::Kind(value, key) => bad(
                "PropertyValueTypeError",
                "The value '%1' for the property %2 is not a type that the property can accept.",
                &[value, key],
                "Correct the value for the property in the request body and resubmit the request if the operation failed.",
            ),
            Self::Unlisted(value, key) => bad(
                "PropertyValueNotInList",
                "The value '%1' for the property %2 is not in the list of acceptable values.",
                &[value, key],
                "Choose a value from the enumeration list that the implementation can support and resubmit the request if the operation failed.",
            ),
            Self::Large => told(
                StatusCode::PAYLOAD_TOO_LARGE,
                "PayloadTooLarge",
                "The supplied payload exceeds the maximum size supported by the service.",
                &[],
                "Check that the supplied payload is correct and supported by this service.",
            ),
            Self::Slow => told(
                StatusCode::REQUEST_TIMEOUT,
                "OperationTimeout",
                "A timeout internal to the service occurred as part of the request.  Partial results may have been returned.",
                &[],
                "Resubmit the request.  If the problem persists, consider resetting the service or provider.",
            ),
            _ => bad(
                "MalformedJSON",
                "The request body submitted was malformed JSON and could not be parsed by the receiving service.",
                &[],
                "Ensure that the request body is valid JSON and resubmit the request.",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let told = self.told();
        let message = json!({
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": format!("Base.1.18.{}", told.id),
            "Message": told.text,
            "MessageArgs": told.args,
            "MessageSeverity": told.severity,
            "Severity": told.severity,
            "Resolution": told.help,
        });
        let message = match message {
            Value::Object(message) => message,
            _ => Default::default(),
        };
        let mut response = answer::error(told.status, message);
        let headers = response.headers_mut();
        match self {
            Self::Unknown => {
                let how = HeaderValue::from_static("Basic realm=\"cellvisor\"");
                headers.insert(header::WWW_AUTHENTICATE, how);
            }
            Self::Method(methods) => {
                headers.insert(header::ALLOW, HeaderValue::from_static(methods));
            }
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}
